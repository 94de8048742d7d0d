"""The times at which a sampler calls its network."""

import numpy as np

from keras_dmmd import checks

GRIDS = ("linear", "cosine")
# float32 tells no more times in [0, 1] apart.
MOST_CALLS = 2**24


def time_grid(steps, times=None):
    """`1 = t_k > … > t_0 = 0`, float32 numpy `(steps + 1,)`.

    Args:
        steps: k, the number of calls.
        times: `None` or `"linear"`, evenly spaced; `"cosine"`, `t = cos(π/2 (1 - u))` of an even u,
            which opens few tokens at first (MD4, arXiv 2406.04329; MaskGIT, arXiv 2202.04200); or the
            times themselves, a sequence of `steps + 1`.

    Raises:
        ValueError: they do not fall from 1 to 0, or are another number.
    """
    checks.count("steps", steps, most=MOST_CALLS)
    if times is None or isinstance(times, str):
        if times not in (None, *GRIDS):
            raise ValueError(
                f"`times` must be one of {GRIDS}, or a sequence that falls from 1 to 0. "
                f"Received: times={times!r}"
            )
        grid = np.linspace(1.0, 0.0, steps + 1, dtype="float32")
        if times == "cosine":
            grid = np.cos(np.pi / 2 * (1.0 - grid.astype("float64"))).astype("float32")
            grid[0], grid[-1] = 1.0, 0.0
        return grid
    grid = checks.array("times", times).astype("float32")
    if (
        grid.ndim != 1
        or len(grid) < 2
        or not (np.diff(grid) < 0).all()
        or (grid[0], grid[-1]) != (1, 0)
    ):
        raise ValueError(
            f"`times` must fall from 1 to 0, every one below the one before. "
            f"Received: {checks.shown(times)}"
        )
    if len(grid) != steps + 1:
        raise ValueError(
            f"`times` of {len(grid)} entries make {len(grid) - 1} calls. Received: steps={steps}"
        )
    return grid


def calls_of(times):
    """The number of calls that `times` make, or `None` where they leave it open."""
    if times is None or isinstance(times, str):
        return None
    return max(1, checks.array("times", times).size - 1)
