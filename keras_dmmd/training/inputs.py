"""Weights of examples, as Keras hands them to a loss."""

from keras import ops

from keras_dmmd import random


def weighted(values, sample_weight):
    """Values of examples, `(batch,)`, times their weights.

    These may be a column, which would broadcast against it, or `None`.
    """
    if sample_weight is None:
        return values
    return values * ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)


def weighted_mean(values, sample_weight):
    """Mean over examples; weighted ones are summed, then divided by the batch, as Keras does.

    Within a step it is this replica's part of the mean over the whole batch: parts add up to that.
    """
    values = weighted(values, sample_weight)
    total = random.rows_of(ops.shape(values)[0]).total
    return ops.sum(values) / ops.maximum(ops.cast(total, values.dtype), 1.0)
