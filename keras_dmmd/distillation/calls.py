"""The numbers of network calls that a student is made for."""

import math
from typing import NamedTuple

from keras import ops

from keras_dmmd import checks, random
from keras_dmmd.sampling.grids import MOST_CALLS


def read_steps(steps):
    """The argument `steps`: a count of network calls, or a pair of the fewest and the most, a tuple.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(steps, (tuple, list)):
        return checks.count("steps", steps, most=MOST_CALLS)
    if len(steps) != 2:
        raise ValueError(
            f"`steps` must be a count, or a pair of the fewest and the most. Received: {steps!r}"
        )
    low, high = (checks.count("steps", count, most=MOST_CALLS) for count in steps)
    if not low < high:
        raise ValueError(f"`steps` must be a pair that rises. Received: steps={(low, high)}")
    return low, high


class Calls(NamedTuple):
    """The fewest and the most network calls per sample: the same of a student for one number."""

    low: int
    high: int

    @classmethod
    def of(cls, steps):
        """Of what `read_steps` returned."""
        return cls(*steps) if isinstance(steps, tuple) else cls(steps, steps)

    @property
    def several(self):
        """Whether the student is told how far a step goes, and so made for more than one number."""
        return self.low < self.high

    @property
    def usual(self):
        """The number that the student takes where nobody says: in the middle, by octaves."""
        return round(math.sqrt(self.low * self.high))

    def always_at_most(self, calls):
        """Whether there is one number, no greater than this."""
        return not self.several and self.high <= calls

    def draw(self, batch_size, key):
        """k, float `(batch,)`, of each example its own where there are several; a key to go on with."""
        if not self.several:
            return ops.full((batch_size,), float(self.low)), key
        calls_key, key = random.split(key, 2)
        # k has its share of the octaves: log((k + 1) / k).
        octaves = random.uniform((batch_size,), calls_key) * math.log((self.high + 1) / self.low)
        return ops.clip(ops.floor(self.low * ops.exp(octaves)), self.low, self.high), key
