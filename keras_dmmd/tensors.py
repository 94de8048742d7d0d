"""Small functions of tensors that every part of the library shares, and its numeric floors."""

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, random

# Signal levels divide each other; at the end of time the divisor is 0.
SIGNAL_FLOOR = 1e-12
# The NELBO's weight has a pole where α = 0: it is cut off here.
WEIGHT_FLOOR = 1e-3
# Below these a probability counts as 0 where its logarithm is taken: far above float32's smallest
# normal number, 1.2e-38, so that nothing is flushed to zero, and far below what a softmax of logits
# gives.
PROBABILITY_FLOOR = 1e-30
LIKELIHOOD_FLOOR = 1e-20
# Halvings of [0, 1]: all that float32 can tell apart there.
BITS = 24
# A log-probability below this contributes nothing to an entropy, and -inf would make it NaN.
LOG_FLOOR = -1e4


def per_token(values):
    """`(batch,)` to `(batch, 1)`, so that a value of an example meets every token of it."""
    return ops.expand_dims(values, -1)


def per_state(values):
    """`(batch,)` to `(batch, 1, 1)`, so that a value of an example meets every state of every token."""
    return ops.expand_dims(values, (-2, -1))


def gather(table, tokens):
    """`table[..., tokens]`: `(batch, length, K)` and `(batch, length)` to `(batch, length)`."""
    picked = backend.gather_last(table, ops.expand_dims(ops.cast(tokens, "int32"), -1))
    return ops.squeeze(picked, axis=-1)


def take_rows(tree, rows):
    """These rows of all arrays and tensors in nested tuples, lists and dicts, as tensors.

    Args:
        tree: the nest; `None` stays what it is.
        rows: numpy integers `(n,)`.
    """

    def take(values):
        if values is None:
            return None
        if isinstance(values, np.ndarray):
            return ops.convert_to_tensor(values[rows])
        return ops.take(values, rows, axis=0)

    return keras.tree.map_structure(take, tree)


def total(values, where=None):
    """The sum over positions, `(batch,)`, of `(batch, length)` values, or of those `where` is true."""
    if where is not None:
        values = ops.where(where, values, 0.0)
    return ops.sum(values, axis=-1)


def mean_where(mask, values):
    """The mean, a scalar, of the values where the mask is true; 0 where it is true nowhere.

    Where replicas share a batch, it is that over all of them, but for a micro-batch. No gradient passes
    through it.
    """
    mask = ops.cast(mask, "float32")
    sums = [ops.stop_gradient(ops.sum(x)) for x in (mask * values, mask)]
    found, number = sums if random.is_part_of_rows() else backend.sum_over_replicas(sums)
    return found / ops.maximum(number, 1.0)


def where_reached(falling, value):
    """The number in [0, 1] at which a falling function has come down to a value; 1 where it never does.

    Args:
        falling: of numbers, `(batch,)` to `(batch,)`.
        value: `(batch,)`.
    """
    low, high = ops.zeros_like(value), ops.ones_like(value)
    for _ in range(BITS):
        middle = 0.5 * (low + high)
        later = falling(middle) > value
        low, high = ops.where(later, middle, low), ops.where(later, high, middle)
    return high


def entropies(log_probs):
    """Entropies of distributions over the last axis, in nats: `(..., K)` to `(...)`."""
    log_probs = ops.maximum(log_probs, LOG_FLOOR)
    return -ops.sum(ops.exp(log_probs) * log_probs, axis=-1)


def certain(tokens, vocabulary_size):
    """Log-probabilities that leave no doubt: 0 at the tokens, -inf elsewhere, `(batch, length, K)`."""
    chosen = ops.one_hot(tokens, vocabulary_size, dtype="float32")
    return ops.where(chosen > 0, 0.0, -float("inf"))
