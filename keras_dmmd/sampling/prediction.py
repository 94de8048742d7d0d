"""What a sampler is given of a network's call."""

from typing import Any, NamedTuple

from keras_dmmd import random


class Prediction(NamedTuple):
    """What the network predicts of every token; certain where a token is given.

    Attributes:
        log_probs: `log E[x | z_t]`, `(batch, length, K)`: by what tokens are compared with each other.
        sharpened: the same at the wanted temperature and nucleus: what tokens are drawn from.
    """

    log_probs: Any
    sharpened: Any

    def draw(self, key):
        """A token for every position, int32 `(batch, length)`."""
        return random.categorical(self.sharpened, key)
