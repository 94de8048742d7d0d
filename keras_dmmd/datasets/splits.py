"""Training and held-out documents that have nothing in common."""

import hashlib

import numpy as np

from keras_dmmd import checks


def split(documents, held_out=0.1, seed=0):
    """Divide documents at random, equal ones always to the same side.

    Which side a document takes depends on its text and the seed alone. So nothing leaks through
    duplicates, and a corpus that grows keeps the sides of the documents it had.

    Args:
        documents: an iterable of strings.
        held_out: expected share of distinct documents that is held out, between 0 and 1.
        seed: integer; another one makes another split.

    Returns:
        `(train, held_out)`: lists of strings, in the order given.

    Example:

    ```python
    documents = [f"document {i}" for i in range(100)]
    train, held_out = kd.datasets.split(documents, held_out=0.1, seed=0)
    ```
    """
    held_out = checks.number("held_out", held_out, above=0.0, below=1.0)
    checks.integer("seed", seed)
    sides = ([], [])
    for document in checks.iterable("documents", documents, "strings"):
        if not isinstance(document, str):
            raise ValueError(f"`documents` must be strings. Received: {type(document).__name__}")
        sides[_is_held_out(document.encode("utf-8", "surrogatepass"), held_out, seed)].append(document)
    return sides


def split_rows(rows, held_out=0.1, seed=0):
    """Which rows of ids are held out, equal ones always with each other: `split` for what is encoded.

    Args:
        rows: ids `(n, length)`.
        held_out: expected share of distinct rows that is held out, between 0 and 1.
        seed: integer; another one makes another split.

    Returns:
        A bool array `(n,)`.

    Example:

    ```python
    (rows, _), _ = kd.datasets.load_digits()
    is_held_out = kd.datasets.split_rows(rows, held_out=0.1, seed=0)
    train, held_out = rows[~is_held_out], rows[is_held_out]
    ```
    """
    held_out = checks.number("held_out", held_out, above=0.0, below=1.0)
    checks.integer("seed", seed)
    rows = np.ascontiguousarray(checks.rows("rows", rows), "<i4")
    return np.array([_is_held_out(row.tobytes(), held_out, seed) for row in rows], bool)


def _is_held_out(content, share, seed):
    digest = hashlib.sha256(f"{seed}\n".encode() + content).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
