"""Logits that are not made yet."""

import dataclasses
from collections.abc import Callable

from keras import ops

from keras_dmmd.vocabulary.tiles import Tiles


@dataclasses.dataclass(frozen=True)
class Logits:
    """What a network says of every position, before its head has made a number for every word of it.

    A table of logits is `K / width` times as large as the features that it is made from: 200 times, for
    50,257 words. So what needs no whole table, a loss for instance, makes a tile of it at a time, from
    the features of some positions.

    Attributes:
        features: tensors `(batch, length, width)`, of one network call or several.
        head: a function of as many tensors `(..., positions, width)` to logits `(..., positions, K)`,
            float32, position by position.
        tiles: how many are to be made at once.
    """

    features: tuple
    head: Callable
    tiles: Tiles = Tiles()

    def table(self):
        """All logits, `(batch, length, K)`."""
        return self.head(*self.features)

    def map(self, function):
        """Logits of which a function makes others, position by position."""
        return dataclasses.replace(self, head=lambda *features: function(self.head(*features)))

    def guided_by(self, free, scale):
        """Classifier-free guidance (arXiv 2207.12598): `log x̂ + w [log x̂(label) - log x̂]`.

        Args:
            free: the `Logits` without the label.
            scale: w.
        """
        number = len(self.features)

        def head(*features):
            own = ops.log_softmax(self.head(*features[:number]), axis=-1)
            base = ops.log_softmax(free.head(*features[number:]), axis=-1)
            return base + scale * (own - base)

        return Logits((*self.features, *free.features), head, self.tiles)

    def each(self, function, *inputs, where=None):
        """`Tiles.map` of a function whose first argument are these logits."""
        return self.tiles.map(function, self, *inputs, where=where)

    @classmethod
    def of(cls, table):
        """Logits that are there already, `(batch, length, K)`."""
        return cls((table,), lambda logits: logits)
