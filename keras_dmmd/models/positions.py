"""Rotary position angles, in one dimension or over the rows and columns of an image."""

import numpy as np
from keras import ops

MAX_WAVELENGTH = 10_000.0  # of the slowest pair, in positions


def rotary_angles(length, head_dim, grid=None, start=None):
    """Angles of rotary embeddings, `(length, head_dim // 2)`, float32.

    Args:
        length: number of positions.
        head_dim: features of a head; even, and a multiple of 4 with a grid.
        grid: `(rows, columns)` of an image read row by row; half of the pairs then turn with the row,
            half with the column. `None` for a sequence.
        start: the first position of a part of a sequence, an integer tensor; `None` is 0.

    Reference:
        - [RoFormer](https://arxiv.org/abs/2104.09864)
    """
    if grid is None:
        axes = [np.arange(length)]
    else:
        axes = np.unravel_index(np.arange(length), grid)
    pairs = head_dim // 2 // len(axes)
    frequencies = (MAX_WAVELENGTH ** -(np.arange(pairs) / pairs)).astype("float32")
    if start is not None:
        positions = ops.cast(start + ops.arange(length), "float32")
        return ops.expand_dims(positions, -1) * ops.convert_to_tensor(frequencies)
    axes = [np.asarray(axis, "float32") for axis in axes]
    return np.concatenate([np.outer(axis, frequencies) for axis in axes], axis=-1)


def rotate(x, angles):
    """Turn the pairs `(x_i, x_{i + d/2})` of `(batch, length, heads, d)` by `(length, d/2)`."""
    cos = ops.cast(ops.cos(angles), x.dtype)[None, :, None, :]
    sin = ops.cast(ops.sin(angles), x.dtype)[None, :, None, :]
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def learned_positions(rows, columns, length, start=None):
    """Learned embeddings of the positions of a sequence, or of an image read row by row.

    Args:
        rows: `(length or more, dim)`, or `(height, dim)` of an image.
        columns: `(width, dim)` of an image, or `None`.
        length: tokens of a sequence.
        start: the position of its first, an integer tensor; `None` is 0.

    Returns:
        `(length, dim)`.
    """
    rows = ops.convert_to_tensor(rows)
    if columns is not None:
        table = ops.expand_dims(rows, 1) + ops.expand_dims(columns, 0)
        return ops.reshape(table, (-1, rows.shape[-1]))
    return rows[:length] if start is None else ops.take(rows, start + ops.arange(length), axis=0)
