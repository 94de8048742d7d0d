"""Weights of examples, as Keras hands them to a loss."""

from keras import ops

from keras_dmmd import random


def example_weights(sample_weight):
    """`(batch,)` from `(batch,)` or a column, which would broadcast against it; `None` stays `None`."""
    return None if sample_weight is None else ops.reshape(sample_weight, (-1,))


def weighted_mean(values, sample_weight):
    """Mean over examples; weighted ones are summed, then divided by the batch, as Keras does.

    Within a step it is this replica's part of the mean over the whole batch: parts add up to that.
    """
    if sample_weight is not None:
        values = values * ops.cast(example_weights(sample_weight), values.dtype)
    total = random.rows_of(ops.shape(values)[0]).total
    return ops.sum(values) / ops.maximum(ops.cast(total, values.dtype), 1.0)
