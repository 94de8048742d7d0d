"""Functions of every position, a tile of positions at a time.

A loss over K words at L positions needs tables of `batch · L · K` numbers: several of 1.6 GB for 8
rows of 1,024 tokens and 50,257 words. None of them is needed at once. Here all positions of a batch are
laid out in a row, those that count first, and cut into tiles; a function is applied to one after the
other, its head with it, and what it made of a tile is made again when gradients are taken. So what is
kept for these is the features, and the tables are as large as a tile.

The same idea, for cross-entropy alone: cut cross-entropy (arXiv 2411.09009), Liger kernels (arXiv
2410.10989).
"""

import dataclasses
import math

import keras
from keras import ops

from keras_dmmd import backend, checks

# With fewer words than this a table is no burden, and tiles cost more than they spare.
FEWEST_WORDS = 2048
# Numbers in a table of one tile: 64 MB of float32.
TILE = 2**24
SMALLEST, LARGEST = 32, 2048  # positions
# Of some of all positions as many tiles at least, so that little is made that nobody asked for.
MANY_TILES = 16


def check_tiles(tiles):
    """`"auto"`, a flag or a number of positions.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(tiles, bool) or (isinstance(tiles, str) and tiles == "auto"):
        return tiles
    try:
        return checks.count("tiles", tiles)
    except ValueError:
        raise ValueError(
            "`tiles` must be 'auto', True, False or a number of positions. "
            f"Received: tiles={checks.shown(tiles)}"
        ) from None


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How positions are divided.

    Attributes:
        size: positions of a tile, or `None`: all at once, as they stand.
    """

    size: int | None = None

    def __bool__(self):
        return self.size is not None

    @classmethod
    def of(cls, tiles, vocabulary_size):
        """By a model's own setting, see `DiffusionModel`, and its number of words."""
        if tiles == "auto":
            tiles = vocabulary_size >= FEWEST_WORDS
        if tiles is True:
            tiles = 2 ** round(math.log2(TILE / vocabulary_size))
            tiles = min(max(tiles, SMALLEST), LARGEST)
        return cls(tiles or None)

    def map(self, function, *inputs, where=None):
        """Apply a function to every position.

        Args:
            function: of as many arguments as there are inputs: for `Logits` their table at some
                positions, `(rows, positions, K)`, for tensors what they are there. It returns a
                tensor `(rows, positions)`, or a tuple of such, position by position. It may read
                weights, but no other tensors than its arguments.
            *inputs: `Logits` first, and perhaps others, tensors `(batch, length, ...)`, or `(batch,)`
                for what all positions of a row share, and `None`, which stays `None`.
            where: bool `(batch, length)`, positions that are asked for, or `None` for all.

        Returns:
            What the function returns, `(batch, length)` float32 each; 0 at positions that were not
            asked for.
        """
        leaves, rebuild = _taken_apart(inputs)
        if self.size is None:
            found = function(*rebuild(leaves))
            if where is None:
                return found
            return keras.tree.map_structure(lambda x: ops.where(where, x, 0.0), found)
        many = []

        def of_tile(*tile):
            found = function(*rebuild(list(tile)))
            many.append(isinstance(found, tuple))
            found = found if many[-1] else (found,)
            return tuple(ops.cast(ops.squeeze(x, 1), "float32") for x in found)

        shape = ops.shape(leaves[0])[:2]
        number = shape[0] * shape[1]
        size = self.size
        if where is not None and isinstance(number, int):
            size = min(size, max(SMALLEST, number // MANY_TILES))
        count = -(-number // size)
        order, num_asked = _order(where, number)
        order = ops.concatenate([order, ops.zeros((count * size - number,), "int32")])
        tiles = [_tiles(leaf, order, shape, (count, size)) for leaf in leaves]
        num_active = -(-num_asked // size)
        found = backend.map_tiles(of_tile, tiles, num_active)
        asked = ops.arange(count * size) < num_asked
        found = tuple(_put_back(x, order, asked, shape) for x in found)
        return found if many[0] else found[0]


def _taken_apart(inputs):
    """A list of tensors, and a function that makes a function's arguments of such a list."""
    leaves = []
    for value in inputs:
        if value is not None:
            leaves += value.features if dataclasses.is_dataclass(value) else [value]

    def rebuild(leaves):
        left, arguments = list(leaves), []
        for value in inputs:
            if dataclasses.is_dataclass(value):
                own, left = left[: len(value.features)], left[len(value.features) :]
                arguments.append(value.head(*own))
            else:
                arguments.append(None if value is None else left.pop(0))
        return arguments

    return leaves, rebuild


def _order(where, number):
    """Numbers of positions, int32, those that are asked for first, and how many these are."""
    if where is None:
        return ops.arange(number, dtype="int32"), number
    asked = ops.reshape(where, (-1,))
    first = ops.cast(asked, "int32")
    num_asked = ops.sum(first)
    # Where each goes: so many of its kind stand before it.
    place = ops.where(asked, ops.cumsum(first) - 1, num_asked + ops.cumsum(1 - first) - 1)
    numbers = ops.arange(number, dtype="int32")
    order = ops.scatter(ops.expand_dims(place, -1), numbers, (number,))
    return ops.cast(order, "int32"), num_asked


def _tiles(leaf, order, shape, tiles):
    """A tensor in tiles, `(count, size, 1, ...)`, or `(count, size)` of one that rows share."""
    if len(leaf.shape) == 1:
        leaf = ops.take(leaf, order // shape[1], axis=0)
        return ops.reshape(leaf, tiles)
    rest = tuple(leaf.shape[2:])
    leaf = ops.take(ops.reshape(leaf, (shape[0] * shape[1], *rest)), order, axis=0)
    return ops.reshape(leaf, (*tiles, 1, *rest))


def _put_back(values, order, asked, shape):
    """Values in tiles, `(count, size)`, to where they belong, `(batch, length)`."""
    values = ops.where(asked, ops.reshape(values, (-1,)), 0.0)
    flat = ops.scatter(ops.expand_dims(order, -1), values, (shape[0] * shape[1],))
    return ops.reshape(flat, shape)
