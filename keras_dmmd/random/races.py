"""Draws among things of given probabilities, by races."""

import math

import numpy as np
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.random.draws import exponential
from keras_dmmd.random.keys import split
from keras_dmmd.random.sizes import shape_of

# Things, among which a draw is by groups. Among fewer it saves nothing.
MANY = 32


def categorical(log_probs, seed):
    """Exact draws from `softmax(log_probs)` over the last axis, int32.

    An exponential race: with `E_k ~ Exp(1)`, `argmin_k E_k / p_k` is distributed as `p`. Its logarithm
    is the Gumbel-max trick, which on float32 uniforms `u` loses rare events: `-log(-log u)` never
    exceeds 16.6, so a probability below 1e-7 goes missing and a sampler that draws many times behaves
    as at a lower temperature. Here the winner is decided among small `E`, and those are fine.

    Args:
        log_probs: float tensor `(..., K)`, log-probabilities up to a constant a row, or `-inf`. What is
            e^-88 times as likely as a row's likeliest counts as impossible.
        seed: see `keras_dmmd.random`.

    Returns:
        int32 tensor `(...)`.

    Example:

    ```python
    log_probs = np.log(np.array([[0.1, 0.9], [0.5, 0.5]], "float32"))
    kd.random.categorical(log_probs, seed=0)  # ids (2,)
    ```
    """
    if not ops.is_tensor(log_probs):
        log_probs = checks.array("log_probs", log_probs)
    if not len(log_probs.shape) or log_probs.shape[-1] == 0:
        raise ValueError(
            f"`log_probs` must have shape (..., K). Received: shape {tuple(log_probs.shape)}"
        )
    log_probs = ops.cast(log_probs, "float32")
    *shape, size = ops.shape(log_probs)
    return winner(log_probs, race(shape, size, seed))


def race(shape, size, seed):
    """What decides a draw among `size` things: exponential numbers `(*shape, n)`, for `winner`.

    One for each thing; of many things one for each of √size groups, and one for each place in a group.

    Example:

    ```python
    race = kd.random.race((2,), 3, seed=0)  # (2, 3)
    kd.random.winner(np.log(np.full((2, 3), 1 / 3)), race)  # ids (2,)
    ```
    """
    shape, size = shape_of(shape), checks.count("size", size)
    if size < MANY:
        return exponential((*shape, size), seed)
    parts = zip(_groups(size), split(seed, 2), strict=True)
    return ops.concatenate([exponential((*shape, n), key) for n, key in parts], axis=-1)


def winner(log_probs, race):
    """Who wins a race, int32 `(...)`: see `categorical`.

    Among many things the race is held twice, between groups of them, each as likely as all of its
    things together, and in the group that won: the least of exponential times is exponential itself, at
    the sum of their rates. So a draw reads its probabilities once and needs 2 √K random numbers.

    Args:
        log_probs: float32 `(..., K)`.
        race: what `race` returned for `(...)` and K.

    Example:

    ```python
    race = kd.random.race((2,), 3, seed=0)
    kd.random.winner(np.log(np.full((2, 3), 1 / 3)), race)  # ids (2,)
    ```
    """
    log_probs, race = (
        ops.cast(x if ops.is_tensor(x) else checks.array(name, x), "float32")
        for name, x in (("log_probs", log_probs), ("race", race))
    )
    size = log_probs.shape[-1] if len(log_probs.shape) else 0
    wanted = _numbers(size)
    if not size or not len(race.shape) or race.shape[-1] not in (wanted, None):
        raise ValueError(
            f"`race` must be what `keras_dmmd.random.race` made, (..., {wanted}) for `log_probs` of "
            f"(..., {size}). Received: shapes {tuple(race.shape)} and {tuple(log_probs.shape)}"
        )
    lowest = float(np.finfo("float32").min)  # of no rows, such as a process may have of a last batch
    largest = ops.max(log_probs, axis=-1, keepdims=True, initial=lowest)
    if size < MANY:
        inverse = ops.exp(largest - log_probs)  # 1 / p_k, up to a factor
        return backend.argmin(inverse * race)
    number, width = _groups(size)
    probs = ops.exp(log_probs - largest)
    spare = [(0, 0)] * (len(probs.shape) - 1) + [(0, number * width - size)]
    probs = ops.reshape(ops.pad(probs, spare), (*ops.shape(probs)[:-1], number, width))
    group = backend.argmin(race[..., :number] / ops.sum(probs, axis=-1))
    place = backend.argmin(race[..., number:] / _of_group(probs, group))
    return group * width + place


def _of_group(probs, group):
    """`probs[..., group, :]`: `(..., number, width)` and `(...)` to `(..., width)`."""
    # Rows of a matrix: torch.export takes a sample's size for fixed where indices are broadcast.
    number, width = probs.shape[-2:]
    shape = ops.shape(group)
    first = ops.arange(math.prod(shape), dtype="int32") * number
    rows = first + ops.reshape(group, (-1,))
    own = ops.take(ops.reshape(probs, (-1, width)), rows, axis=0)
    return ops.reshape(own, (*shape, width))


def _numbers(size):
    """How many random numbers a race among so many things takes."""
    return size if size < MANY else sum(_groups(size))


def _groups(size):
    """How many groups many things are divided into, and how many things each has at most."""
    width = 2 ** math.ceil(math.log2(size) / 2)
    return -(-size // width), width
