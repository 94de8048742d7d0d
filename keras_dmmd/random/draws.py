"""Uniform, normal, integer and exponential numbers."""

from keras import ops

from keras_dmmd import backend
from keras_dmmd.random.keys import as_key, split
from keras_dmmd.random.rows import by_row, for_all_rows, rows_of
from keras_dmmd.random.sizes import shape_of, size_of

GOLDEN = -1640531527  # the golden ratio's fraction in units of 2^-32, as a signed integer


def uniform(shape, seed):
    """Float32 draws from U[0, 1).

    Example:

    ```python
    kd.random.uniform((2, 3), seed=0)
    ```
    """
    shape = shape_of(shape)
    return backend.uniform(by_row(as_key(seed), shape), shape)


def normal(shape, seed):
    """Float32 draws from N(0, 1).

    Example:

    ```python
    kd.random.normal((2, 3), seed=0)
    ```
    """
    shape = shape_of(shape)
    return backend.normal(by_row(as_key(seed), shape), shape)


def randint(shape, maximum, seed):
    """Integers in `0 .. maximum - 1`, int32. Bias below `maximum / 2^24` in relative terms.

    Example:

    ```python
    kd.random.randint((2, 3), 10, seed=0)  # integers from 0 to 9
    ```
    """
    maximum = size_of("maximum", maximum, least=1)
    draws = ops.floor(uniform(shape, seed) * ops.cast(maximum, "float32"))
    return ops.minimum(ops.cast(draws, "int32"), maximum - 1)


def stratified(batch_size, seed):
    """One uniform draw in each of `batch_size` equal parts of [0, 1), `(batch_size,)`.

    All parts share their offset, as in Kingma et al., "Variational Diffusion Models" (2021,
    appendix I.1): each draw is uniform, and their mean varies far less than that of independent ones.
    Of a batch that replicas share the parts are those of the whole.

    Example:

    ```python
    kd.random.stratified(4, seed=0)  # one number in each quarter of [0, 1)
    ```
    """
    first, n, total, _ = rows_of(size_of("batch_size", batch_size))
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

    Example:

    ```python
    kd.random.spread(0, start=0, n=4)  # four numbers in [0, 1), evenly spread
    ```
    """
    rows = size_of("start", start) + ops.arange(size_of("n", n), dtype="int32")
    parts = size_of("parts", parts, least=1)
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

    Example:

    ```python
    kd.random.exponential((2, 3), seed=0)
    ```
    """
    if not shape_of(shape):
        raise ValueError("`shape` must have at least one dimension. Received: shape=()")
    coarse_seed, fine_seed = split(seed, 2)
    coarse, fine = uniform(shape, coarse_seed), uniform((*shape[:-1], 1), fine_seed)
    return backend.exponential(coarse, fine)
