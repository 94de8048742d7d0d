"""Stateless random numbers, the same calls on every backend, and exact categorical sampling.

Every function takes a `seed`: an integer, a `keras.random.SeedGenerator`, or a key that `split` or
`row_keys` returned. The same integer or key gives the same numbers again; a generator moves on.
"""

import contextlib
import contextvars
import math
import numbers
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, checks

GOLDEN = -1640531527  # the golden ratio's fraction in units of 2^-32, as a signed integer
MANY = 2048  # things, among which a draw is by groups


class Rows(NamedTuple):
    """The rows of a batch that are here: from the `first`, `n` of `total` over all replicas.

    `is_part` says that they are not all of this replica's: others may have more such parts or fewer.
    """

    first: Any
    n: Any
    total: Any
    is_part: bool = False


_rows = contextvars.ContextVar("rows", default=None)


@contextlib.contextmanager
def _within(rows):
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def batch_rows(n):
    """A context in which draws are of a batch: `(n, ...)`, each row by a key of its own.

    Where several replicas have a part of a batch each, these are `n` rows of all: what a row draws is a
    function of the seed and of its place in the whole batch, on whatever replica it is.
    """
    if _rows.get() is not None:  # of a step, which knows already
        return contextlib.nullcontext()
    first, total = backend.share(n)
    return _within(Rows(first, n, total))


def part_of_rows(first, n):
    """Within `batch_rows`, a context for n of its rows, from the `first`."""
    rows = _rows.get()
    return _within(Rows(rows.first + first, n, rows.total, is_part=True))


def for_all_rows():
    """A context in which draws have any shape, and all replicas draw the same."""
    return _within(None)


def is_part_of_rows():
    """Whether this runs in `part_of_rows`: then replicas do not all run it alike."""
    return _rows.get() is not None and _rows.get().is_part


def rows_of(n):
    """The `Rows` of n examples: of the batch that a step is at, else all that there are."""
    return _rows.get() or Rows(0, n, n)


def _by_row(key, shape):
    """Keys of the rows, where draws are of a batch."""
    rows = _rows.get()
    if rows is None or backend.is_row_key(key):
        return key
    n = shape[0] if shape else None
    if isinstance(rows.n, int) and isinstance(n, int | None) and n != rows.n:
        raise ValueError(
            f"In a step on {rows.n} examples draws have one row for each, ({rows.n}, ...): what all "
            f"share is drawn in `keras_dmmd.random.for_all_rows()`. Received: shape={tuple(shape)}"
        )
    return backend.row_keys(key, rows.first + ops.arange(n, dtype="int32"))


def as_key(seed):
    """A stateless key from an integer, a `keras.random.SeedGenerator` or a key."""
    if isinstance(seed, keras.random.SeedGenerator):
        return backend.key(seed.next())
    if isinstance(seed, numbers.Integral) and not isinstance(seed, bool):
        seed = int(seed)
        # The low 32 bits as a signed integer: what the key dtype of every backend can hold.
        return backend.key([((seed & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000, 0])
    if not backend.is_key(seed):
        raise ValueError(
            "`seed` must be an integer, a keras.random.SeedGenerator or a key made by "
            f"keras_dmmd.random.split. Received: seed={checks.shown(seed)}"
        )
    return seed


def split(seed, n):
    """A list of `n` independent keys."""
    return backend.split(as_key(seed), checks.count("n", n))


def row_keys(seed, rows):
    """A key per row, of these rows, integers `(n,)` from 0, as one key.

    A draw of shape `(n, ...)` by it takes each row from the row's own key: what a row gets does not
    depend on the rows that are drawn beside it.
    """
    if not ops.is_tensor(rows):
        rows = checks.ids("rows", rows, checks.MOST, ndim=1)
    if len(rows.shape) != 1 or not _holds_integers(rows):
        dtype = keras.backend.standardize_dtype(rows.dtype)
        raise ValueError(
            f"`rows` must be integers of shape (n,). Received: {dtype} of shape {tuple(rows.shape)}"
        )
    return backend.row_keys(as_key(seed), ops.cast(rows, "int32"))


def seed_keys(seeds):
    """The keys of these integers, an int32 tensor `(n,)`, as one key of `n` rows.

    Row i of it is `as_key(seeds[i])`. `split` splits each, and `row_keys(keys, rows)` takes from each
    the key of one row.
    """
    return backend.seed_keys(seeds)


def _holds_integers(array):
    return "int" in keras.backend.standardize_dtype(array.dtype)


def _size(name, value, least=0):
    """A size, which may be an integer tensor where it is not known yet: then it becomes int32."""
    if backend.is_symbolic(value):
        return value
    if ops.is_tensor(value) and not len(value.shape) and _holds_integers(value):
        return ops.cast(value, "int32")
    return checks.count(name, value, least)


def _shape(shape):
    sizes = checks.iterable("shape", shape, "sizes")
    return tuple(_size("shape", size) for size in sizes)


def uniform(shape, seed):
    """Float32 draws from U[0, 1)."""
    shape = _shape(shape)
    return backend.uniform(_by_row(as_key(seed), shape), shape)


def normal(shape, seed):
    """Float32 draws from N(0, 1)."""
    shape = _shape(shape)
    return backend.normal(_by_row(as_key(seed), shape), shape)


def randint(shape, maximum, seed):
    """Integers in `0 .. maximum - 1`, int32. Bias below `maximum / 2^24` in relative terms."""
    maximum = _size("maximum", maximum, least=1)
    draws = ops.floor(uniform(shape, seed) * ops.cast(maximum, "float32"))
    return ops.minimum(ops.cast(draws, "int32"), maximum - 1)


def stratified(batch_size, seed):
    """One uniform draw in each of `batch_size` equal parts of [0, 1), `(batch_size,)`.

    All parts share their offset, as in Kingma et al., "Variational Diffusion Models" (2021,
    appendix I.1): each draw is uniform, and their mean varies far less than that of independent ones.
    Of a batch that replicas share the parts are those of the whole.
    """
    first, n, total, _ = rows_of(_size("batch_size", batch_size))
    parts = ops.cast(first + ops.arange(n, dtype="int32"), "float32") / ops.cast(total, "float32")
    return ops.mod(parts + _offset(seed), 1.0)


def _offset(seed):
    """A draw that all rows share, `(1,)`."""
    with for_all_rows():
        return uniform((1,), seed)


def spread(seed, start, n, parts=1):
    """Uniform draws `(n,)` for the rows from `start`, each a function of seed and row, evenly spread.

    Row i has `(u + i φ) mod 1` with φ the golden ratio: of any run of rows the numbers lie almost as
    evenly as those of `stratified` (a Kronecker sequence: Niederreiter, "Random Number Generation and
    Quasi-Monte Carlo Methods", 1992, §3.1). With `parts`, so many rows that follow one another share
    their number, each in its own part of [0, 1).
    """
    rows = _size("start", start) + ops.arange(_size("n", n), dtype="int32")
    parts = _size("parts", parts, least=1)
    # By integers that wrap around, as φ by its fraction does: exact for every row that there is.
    turns = ops.right_shift(ops.floor_divide(rows, parts) * GOLDEN, 8)
    turns = ops.cast(ops.bitwise_and(turns, 2**24 - 1), "float32") * 2.0**-24
    within = ops.mod(turns + _offset(seed), 1.0)
    return (ops.cast(ops.mod(rows, parts), "float32") + within) / ops.cast(parts, "float32")


def exponential(shape, seed):
    """Float32 draws of `E ~ Exp(1)`, fine where they are small: down to 2^-47.

    `E = -log(1 - v)` for uniform `v` is small where `v` is, and there a float32 draw is coarse: a
    multiple of 2^-23. So each draw picks one of 2^23 cells, and a second one, which a row shares, the
    place in it. Two draws of a row share their last bits, then, only where both fall in one cell.
    """
    if not _shape(shape):
        raise ValueError("`shape` must have at least one dimension. Received: shape=()")
    coarse_seed, fine_seed = split(seed, 2)
    coarse, fine = uniform(shape, coarse_seed), uniform((*shape[:-1], 1), fine_seed)
    return backend.exponential(coarse, fine)


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
    """
    if not ops.is_tensor(log_probs):
        log_probs = checks.array("log_probs", log_probs)
    if not len(log_probs.shape) or 0 in tuple(log_probs.shape):
        raise ValueError(
            f"`log_probs` must have shape (..., K). Received: shape {tuple(log_probs.shape)}"
        )
    log_probs = ops.cast(log_probs, "float32")
    *shape, size = ops.shape(log_probs)
    return winner(log_probs, race(shape, size, seed))


def race(shape, size, seed):
    """What decides a draw among `size` things: exponential numbers `(*shape, n)`, for `winner`.

    One for each thing; of many things one for each of √size groups, and one for each place in a group.
    """
    shape, size = _shape(shape), checks.count("size", size)
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
        return ops.cast(ops.argmin(inverse * race, axis=-1), "int32")
    number, width = _groups(size)
    probs = ops.exp(log_probs - largest)
    spare = [(0, 0)] * (len(probs.shape) - 1) + [(0, number * width - size)]
    probs = ops.reshape(ops.pad(probs, spare), (*ops.shape(probs)[:-1], number, width))
    group = ops.argmin(race[..., :number] / ops.sum(probs, axis=-1), axis=-1)
    own = ops.take_along_axis(probs, ops.expand_dims(group, (-2, -1)), axis=-2)
    place = ops.argmin(race[..., number:] / ops.squeeze(own, -2), axis=-1)
    return ops.cast(group * width + place, "int32")


def _numbers(size):
    """How many random numbers a race among so many things takes."""
    return size if size < MANY else sum(_groups(size))


def _groups(size):
    """How many groups many things are divided into, and how many things each has at most."""
    width = 2 ** math.ceil(math.log2(size) / 2)
    return -(-size // width), width
