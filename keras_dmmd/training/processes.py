"""Batches of several processes: parts of arrays, or each from a source of its own, taken in step."""

import zlib

import numpy as np
from keras import ops, tree

from keras_dmmd import backend


def part_of(rows):
    """This process's part of an array of rows: parts of all are those rows, in order.

    What the devices of one program do not divide each of its processes has whole.
    """
    number, parts = backend.data_part()
    whole = parts == 1 or len(rows) % backend.parts()
    return rows if whole else np.array_split(rows, parts)[number]


def in_step(batches):
    """The batches of this process as long as any has one: those whose source has ended get no rows.

    Raises:
        ValueError: two processes were given the same rows, or one was given none at all.
    """
    _, processes = backend.process()
    if processes == 1:
        yield from batches
        return
    batches, last, checked = iter(batches), None, False
    while True:
        batch = next(batches, None)
        found = -1 if batch is None else 0 if checked else _digest(batch)  # of the first alone
        digests = backend.gather_integers([found])[:, 0]
        if (digests == -1).all():
            return
        if not checked:
            _check_apart(digests)
            checked = True
        last = last if batch is None else batch
        yield last if batch is not None else tree.map_structure(_no_rows, last)


def _digest(batch):
    digest = 0
    for part in tree.flatten(batch):
        if part is not None:
            digest = zlib.crc32(np.ascontiguousarray(ops.convert_to_numpy(part)).tobytes(), digest)
    return digest


def _no_rows(part):
    return None if part is None else part[:0]


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
