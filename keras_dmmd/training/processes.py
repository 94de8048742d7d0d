"""Batches of several processes: parts of arrays, or each from a source of its own, taken in step.

Before data are used, processes exchange a number of them and that of their rows. An error of one that
reads its data is told in place of these, so that none waits for it.
"""

import zlib

import numpy as np
from keras import ops, tree

from keras_dmmd import backend


def are_several():
    """Whether other processes take part in what this one trains."""
    return backend.reads_whole() or backend.data_part()[1] > 1


def part_of(rows):
    """This process's part of an array of rows: parts of all are those rows, in order.

    What the devices of one program do not divide each of its processes has whole.
    """
    number, parts = backend.data_part()
    whole = parts == 1 or len(rows) % backend.parts()
    return rows if whole else np.array_split(rows, parts)[number]


def in_step(batches):
    """Batches as processes take them together: pairs of this one's part, and the rows of all parts.

    Where each process has the whole data, it takes a part of every batch. Where each has rows of its
    own, batches come as long as any has one: those whose source has ended get no rows.

    Raises:
        ValueError: processes were given other rows where these must be the same, or the same where they
            must not, or one was given none at all.
        RuntimeError: another process cannot read its own.
    """
    if backend.reads_whole():
        return _divided(batches)
    if backend.data_part()[1] > 1:
        return _joined(batches)
    return ((batch, _rows(batch)) for batch in batches)


def check_arrays(parts):
    """Raise a `ValueError` where processes were given different arrays.

    Each takes its part of all rows, so from parts that a user has made it would drop the most.
    """
    if not are_several():
        return
    rows = _rows(parts)
    some = _each(lambda part: part[:: max(1, rows // 1000)], parts)
    found = backend.gather_integers(_digest(some), rows)
    if (found != found[0]).any():
        raise ValueError(
            f"{len(found)} processes were given different arrays, of {found[:, 1].tolist()} rows. "
            "`fit` divides arrays itself: give all of them to each process."
        )


def most_batches(number):
    """How many batches a pass has, of as many as any process has; `None` where one does not know."""
    found = backend.gather_integers(-1 if number is None else number)[:, 0]
    if backend.reads_whole():
        _check_same(found)
        return number
    return None if (found < 0).any() else int(found.max())


def _divided(batches):
    batches = iter(batches)
    while True:
        with backend.telling():
            batch = next(batches, None)
            digest = _digest(batch)
        _check_same(backend.gather_integers(digest)[:, 0])
        if batch is None:
            return
        yield _each(part_of, batch), _rows(batch)


def _joined(batches):
    batches, (_, parts) = iter(batches), backend.data_part()
    last, checked = None, False
    while True:
        with backend.telling():
            batch = next(batches, None)
            digest = 0 if checked and batch is not None else _digest(batch)  # of the first alone
            rows = 0 if batch is None else _rows(batch)
        found = backend.gather_integers(digest, rows)
        found = found.reshape(parts, -1, 2)  # those that share a part follow one another
        for part in found:
            _check_same(part[:, 0])
        digests, sizes = found[:, 0].T
        if (digests == -1).all():
            return
        if not checked:
            _check_apart(digests)
            checked = True
        last = _each(_no_rows, last) if batch is None else batch
        whole = backend.whole_if_uneven(last, sizes)
        yield last if whole is None else _each(part_of, whole), int(sizes.sum())


def _rows(batch):
    return len(tree.flatten(batch)[0])


def _each(function, batch):
    return tree.map_structure(lambda part: None if part is None else function(part), batch)


def _digest(batch):
    """A number of the rows of a batch, at least 0; -1 of none."""
    if batch is None:
        return -1
    digest = 0
    for part in tree.flatten(batch):
        if part is not None:
            digest = zlib.crc32(np.ascontiguousarray(ops.convert_to_numpy(part)).tobytes(), digest)
    return digest >> 1  # of 31 bits


def _no_rows(part):
    return part[:0]


def _check_same(digests):
    if (digests != digests[0]).any():
        raise ValueError(
            f"{len(digests)} processes that need the same rows in the same order were given different "
            "rows. Where each reads all of the data, shuffle by a seed, or give each its own rows "
            "under a keras.distribution with `auto_shard_dataset=False`. There processes that hold "
            "parts of the same layers need the same ones."
        )


def _check_apart(digests):
    if (digests == -1).any():
        raise ValueError(
            f"The data of process {int(np.argmin(digests))} of {len(digests)} hold no batch."
        )
    numbers, places = np.unique(digests, return_inverse=True)
    if len(numbers) < len(digests):
        same = np.flatnonzero(places == np.argmax(np.bincount(places)))[:2]
        raise ValueError(
            f"Processes {same[0]} and {same[1]} of {len(digests)} were given the same rows: each needs "
            "its own part of the data, `dataset.shard(processes, number)` or a sampler that splits. "
            "Arrays are split by `fit` itself."
        )
