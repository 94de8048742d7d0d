"""Rows of a batch: where draws have one each, and which of them are here."""

import contextlib
import contextvars
from typing import Any, NamedTuple

from keras import ops

from keras_dmmd import backend


class Rows(NamedTuple):
    """The rows of a batch that are here: from the `first`, `n` of `total` over all replicas.

    `is_part` says that they are not all of this replica's: others may have more such parts or fewer.

    Example:

    ```python
    rows = kd.random.rows_of(8)  # Rows(first=0, n=8, total=8, is_part=False)
    ```
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

    Example:

    ```python
    with kd.random.batch_rows(4):
        four = kd.random.uniform((4, 2), 0)
    with kd.random.batch_rows(8):
        eight = kd.random.uniform((8, 2), 0)  # the first four rows are the same
    ```
    """
    if _rows.get() is not None:  # of a step, which knows already
        return contextlib.nullcontext()
    first, total = backend.share(n)
    return _within(Rows(first, n, total))


def part_of_rows(first, n):
    """Within `batch_rows`, a context for n of its rows, from the `first`.

    Example:

    ```python
    with kd.random.batch_rows(4):
        whole = kd.random.uniform((4,), 0)
        with kd.random.part_of_rows(2, 2):
            part = kd.random.uniform((2,), 0)  # the last two numbers of `whole`
    ```
    """
    rows = _rows.get()
    return _within(Rows(rows.first + first, n, rows.total, is_part=True))


def for_all_rows():
    """A context in which draws have any shape, and all replicas draw the same.

    Example:

    ```python
    with kd.random.batch_rows(4):
        with kd.random.for_all_rows():
            shared = kd.random.uniform((1,), 0)  # of one row, which all four share
    ```
    """
    return _within(None)


def is_part_of_rows():
    """Whether this runs in `part_of_rows`: then replicas do not all run it alike.

    Example:

    ```python
    with kd.random.batch_rows(4), kd.random.part_of_rows(0, 2):
        kd.random.is_part_of_rows()  # True
    ```
    """
    return _rows.get() is not None and _rows.get().is_part


def rows_of(n):
    """The `Rows` of n examples: of the batch that a step is at, else all that there are.

    Example:

    ```python
    with kd.random.batch_rows(8), kd.random.part_of_rows(4, 4):
        kd.random.rows_of(4).first  # 4
    ```
    """
    return _rows.get() or Rows(0, n, n)


def by_row(key, shape):
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
