"""What is asked of a sampler, and what it returns."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from keras_dmmd.conditions import NOTHING, Conditions
from keras_dmmd.sampling.endings import Ending


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a sampler.

    Attributes:
        n: number of samples.
        length: tokens of a sample.
        size: tokens that are written at once: a block of them, or all.
        stepper: a `keras_dmmd.samplers.Stepper`.
        grid: times of the calls, float32 numpy `(calls + 1,)`.
        conditions: numpy `Conditions` of `n` rows.
        ending: the tokens after which a model of blocks writes no further one.
        temperature, top_p, guidance_scale: see `DiffusionModel.generate`.
        batch_size: samples to draw at once, or `None`.
        max_batch_size: how many are drawn at once where `batch_size` is `None`, at the most.
        trajectory: whether to keep every `z_t` on the way.
        record_entropies: whether to measure the network's predictions.
    """

    n: int
    length: int
    size: int
    stepper: Any
    grid: np.ndarray
    conditions: Conditions = NOTHING
    ending: Ending = Ending()
    temperature: float = 1.0
    top_p: Any = None
    guidance_scale: Any = None
    batch_size: Any = None
    max_batch_size: int = 1
    trajectory: bool = False
    record_entropies: bool = False

    @property
    def calls(self):
        """Network calls of a block, at the most."""
        return len(self.grid) - 1

    @functools.cached_property
    def blocks(self):
        """The starts of all blocks, and whether each has something to fill.

        One that every prompt fills needs no call. A sequence of a single block takes the calls that
        were asked for.
        """
        starts = range(0, self.length, self.size)
        given = {start: self.conditions.are_all_known(start, self.size) for start in starts}
        return {start: len(given) == 1 or not is_given for start, is_given in given.items()}


class Samples(NamedTuple):
    """What a sampler returns, numpy.

    Attributes:
        tokens: ids `(n, length)`.
        calls: network calls that each sample took, `(n,)`.
        trajectory: every `z_t`, `(calls + 1, n, length)` from `z_1` to `z_0`, or `None`.
        entropies: mean entropy of open tokens' predictions at every call, nats, `(calls,)`, the mean
            over blocks; `None` where it was not asked for.
    """

    tokens: np.ndarray
    calls: np.ndarray
    trajectory: Any = None
    entropies: Any = None
