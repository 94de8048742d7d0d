"""What `fit` is given: tokens, and what a model is told of them."""

from keras import ops

from keras_dmmd import random

CONDITIONS = ("labels", "known")


def unpack(inputs):
    """`tokens, conditions` from ids or from a dict with the entry "tokens", with shapes checked.

    `conditions` has those of `"labels"`, `(batch,)`, and `"known"`, bool `(batch, length)`, that there
    are.
    """
    conditions = {}
    tokens = inputs
    if isinstance(inputs, dict):
        if "tokens" not in inputs or not set(inputs) <= {"tokens", *CONDITIONS}:
            raise ValueError(
                "Inputs given as a dict need the entry 'tokens', and may have 'labels' and 'known'. "
                f"Received: {sorted(inputs)}"
            )
        tokens = inputs["tokens"]
        conditions = {k: inputs[k] for k in CONDITIONS if inputs.get(k) is not None}
    if len(tokens.shape) != 2:
        raise ValueError(
            "Tokens must have shape (batch, length): flatten images to one row each. "
            f"Received: shape {tuple(tokens.shape)}"
        )
    if tokens.shape[1] is None:
        raise ValueError(
            "The length of token sequences must be known before they are read: pad them to one length. "
            f"Received: shape {tuple(tokens.shape)}"
        )
    if "known" in conditions:
        if tuple(conditions["known"].shape[1:]) != tuple(tokens.shape[1:]):
            raise ValueError(
                "'known' says of every token whether it is given. Received: shape "
                f"{tuple(conditions['known'].shape)} for tokens {tuple(tokens.shape)}"
            )
        conditions["known"] = ops.cast(conditions["known"], "bool")
    return ops.cast(tokens, "int32"), conditions


def dimensions(inputs):
    """Tokens of an example that are not given: an integer, or float32 `(batch,)`, at least 1."""
    tokens, conditions = unpack(inputs)
    if "known" not in conditions:
        return tokens.shape[1]
    unknown = ops.cast(ops.logical_not(conditions["known"]), "float32")
    return ops.maximum(ops.sum(unknown, axis=-1), 1.0)


def given_prefixes(batch_size, length, rate, seed):
    """Beginnings of random length, of none to all but one token, for a share of the rows.

    Returns:
        bool `(batch_size, length)`.
    """
    rate_key, size_key = random.split(seed, 2)
    sizes = random.randint((batch_size,), length, size_key)
    chosen = random.uniform((batch_size,), rate_key) < rate
    sizes = ops.where(chosen, sizes, 0)
    return ops.expand_dims(ops.arange(length), 0) < ops.expand_dims(sizes, 1)


def example_weights(sample_weight):
    """`(batch,)` from `(batch,)` or a column, which would broadcast against it; `None` stays `None`."""
    return None if sample_weight is None else ops.reshape(sample_weight, (-1,))


def weighted_mean(values, sample_weight):
    """Mean over examples; weighted ones are summed, then divided by the batch, as Keras does."""
    if sample_weight is not None:
        values = values * ops.cast(example_weights(sample_weight), values.dtype)
    return ops.mean(values)
