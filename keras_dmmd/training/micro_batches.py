"""A batch in parts, one after the other: their sums are the batch's, in the memory of a part."""

import keras
from keras import ops

from keras_dmmd import backend, random


def sum_over_parts(function, batch, least):
    """What a function makes of parts of a batch, added up.

    Within it, each row draws what it would draw in the whole batch, and a mean over examples is the
    part's share of the mean over the whole.

    Args:
        function: of the same nest as `batch`, with some of its rows; returns a nest of floats.
        batch: a nest of tensors `(rows, ...)` and `None`s.
        least: parts at least: so many as divide the rows.
    """
    leaves = keras.tree.flatten(batch)
    tensors = [x for x in leaves if x is not None]
    rows = ops.shape(tensors[0])[0]
    number = number_of_parts(rows, least, backend.parts())
    size = rows // number

    def of_part(i, *part):
        part = backend.split_rows(part)
        left = iter(part)
        own = keras.tree.pack_sequence_as(batch, [None if x is None else next(left) for x in leaves])
        with random.part_of_rows(i * size, size):
            return function(*own)

    parts = [ops.reshape(x, (number, size, *x.shape[1:])) for x in tensors]
    return backend.sum_parts(of_part, parts, number)


def number_of_parts(rows, least, devices=1):
    """The least number that divides the rows and is no less than `least`, or else all rows.

    Of parts that devices divide: one row for each is the least that they can be cut to.
    """
    if isinstance(rows, int):
        cuts = rows if rows % devices else rows // devices
        return next((n for n in range(least, cuts) if cuts % n == 0), max(cuts, 1))
    numbers = ops.arange(1, rows + 1)
    fits = ops.logical_and(ops.mod(rows, numbers) == 0, numbers >= least)
    return ops.min(ops.where(fits, numbers, rows), initial=ops.maximum(rows, 1))
