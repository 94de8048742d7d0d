"""Keys: what every draw is a function of."""

import numbers

import keras
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.random.sizes import holds_integers


def as_key(seed):
    """A stateless key from an integer, a `keras.random.SeedGenerator` or a key.

    Example:

    ```python
    key = kd.random.as_key(0)
    kd.random.uniform((2,), key)  # the same numbers again with the same key
    ```
    """
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
    """A list of `n` independent keys.

    Example:

    ```python
    first, second = kd.random.split(0, 2)
    kd.random.uniform((2,), first)
    ```
    """
    return backend.split(as_key(seed), checks.count("n", n))


def row_keys(seed, rows):
    """A key per row, of these rows, integers `(n,)` from 0, as one key.

    A draw of shape `(n, ...)` by it takes each row from the row's own key: what a row gets does not
    depend on the rows that are drawn beside it.

    Example:

    ```python
    keys = kd.random.row_keys(0, [3, 5])
    kd.random.uniform((2, 4), keys)  # row 0 is that of key 3, whatever stands beside it
    ```
    """
    if not ops.is_tensor(rows):
        rows = checks.ids("rows", rows, checks.MOST, ndim=1)
    if len(rows.shape) != 1 or not holds_integers(rows):
        dtype = keras.backend.standardize_dtype(rows.dtype)
        raise ValueError(
            f"`rows` must be integers of shape (n,). Received: {dtype} of shape {tuple(rows.shape)}"
        )
    return backend.row_keys(as_key(seed), ops.cast(rows, "int32"))


def seed_keys(seeds):
    """The keys of these integers, an int32 tensor `(n,)`, as one key of `n` rows.

    Row i of it is `as_key(seeds[i])`. `split` splits each, and `row_keys(keys, rows)` takes from each
    the key of one row.

    Example:

    ```python
    keys = kd.random.seed_keys(keras.ops.convert_to_tensor([7, 8]))
    kd.random.uniform((2, 4), keys)  # a row of each seed
    ```
    """
    return backend.seed_keys(seeds)
