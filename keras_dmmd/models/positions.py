"""Rotary position angles, in one dimension or over the rows and columns of an image."""

import numpy as np
from keras import ops


def rotary_angles(length, head_dim, grid=None, max_wavelength=10_000.0):
    """Angles of rotary embeddings, `(length, head_dim // 2)`, float32.

    Args:
        length: number of positions.
        head_dim: features of a head; even, and a multiple of 4 with a grid.
        grid: `(rows, columns)` of an image read row by row; half of the pairs then turn with the row,
            half with the column. `None` for a sequence.
        max_wavelength: the slowest pair's wavelength, in positions.

    Reference:
        - [RoFormer](https://arxiv.org/abs/2104.09864)
    """
    if grid is None:
        axes = [np.arange(length)]
    else:
        axes = np.unravel_index(np.arange(length), grid)
    pairs = head_dim // 2 // len(axes)
    frequencies = max_wavelength ** -(np.arange(pairs) / pairs)
    return np.concatenate([np.outer(axis, frequencies) for axis in axes], axis=-1).astype("float32")


def rotate(x, angles):
    """Turn the pairs `(x_i, x_{i + d/2})` of `(batch, length, heads, d)` by `(length, d/2)`."""
    cos = ops.cast(ops.cos(angles), x.dtype)[None, :, None, :]
    sin = ops.cast(ops.sin(angles), x.dtype)[None, :, None, :]
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
