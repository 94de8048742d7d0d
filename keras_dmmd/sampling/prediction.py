"""What a sampler is given of a network's call."""

from keras import ops

from keras_dmmd import random
from keras_dmmd.tensors import certain
from keras_dmmd.vocabulary import Logits


class Prediction:
    """What the network predicts of every token; certain where a token is given.

    Of a large vocabulary it is made a tile of positions at a time, where a stepper asks for it: the
    fewer positions, the less there is to do.

    Args:
        logits: the network's `keras_dmmd.vocabulary.Logits`.
        read: a function of these at some positions, and of the inputs there, to a pair of
            log-probabilities `(rows, positions, K)`: as predicted, by which tokens are compared with
            each other, and at the wanted temperature and nucleus, from which they are drawn.
        inputs: tensors `(batch, length)` or `(batch,)`, or `None`.
        z_t: ids `(batch, length)`.
        vocabulary_size: K.
        where_open: which of these are not known for certain, bool `(batch, length)`, or `None` for all.

    Example:

    ```python
    log_probs = np.log(np.full((2, 3, 5), 0.2, "float32"))
    prediction = kd.samplers.Prediction.of(log_probs)
    prediction.draw(kd.random.as_key(0))  # ids (2, 3)
    ```
    """

    def __init__(self, logits, read, inputs, z_t, vocabulary_size, where_open=None):
        self._logits, self._read, self._inputs = logits, read, tuple(inputs)
        self._z_t, self._where_open = z_t, where_open
        self._vocabulary_size = vocabulary_size
        self._broken = []

    @classmethod
    def of(cls, log_probs, sharpened=None):
        """Of log-probabilities that are there, `(batch, length, K)`."""
        log_probs = ops.convert_to_tensor(log_probs)
        sharpened = log_probs if sharpened is None else sharpened
        return cls(Logits.of(log_probs), lambda x: (x, sharpened), (), None, log_probs.shape[-1])

    @property
    def in_tiles(self):
        """Whether it costs less to ask for fewer positions."""
        return bool(self._logits.tiles)

    @property
    def log_probs(self):
        """`log E[x | z_t]`, `(batch, length, K)`."""
        found = self._read(self._logits.table(), *self._inputs)[0]
        if not self.in_tiles or self._where_open is None:
            return found
        # What is read in tiles is read as if all were open. A mask is no word.
        there = certain(ops.minimum(self._z_t, self._vocabulary_size - 1), self._vocabulary_size)
        return ops.where(ops.expand_dims(self._where_open, -1), found, there)

    def each(self, function, *inputs, where=None):
        """What a function makes of the prediction of every position.

        Args:
            function: of both log-probabilities at some positions, `(rows, positions, K)`, and of the
                inputs there, to a tensor `(rows, positions)` or a tuple of such. It may read no other
                tensors.
            *inputs: tensors `(batch, length, ...)` or `(batch,)`.
            where: bool `(batch, length)`, which of the open positions are asked for; by default all.

        Returns:
            `(batch, length)` float32 each, 0 at other positions.
        """
        number = len(self._inputs)

        def values(logits, *given):
            found = function(*self._read(logits, *given[:number]), *given[number:])
            found = found if isinstance(found, tuple) else (found,)
            broken = (ops.isnan(ops.sum(logits, axis=-1)),) if self.in_tiles else ()
            return tuple(ops.cast(x, "float32") for x in (*found, *broken))

        where = self._asked(where)
        found = self._logits.each(values, *self._inputs, *inputs, where=where)
        if self.in_tiles:
            *found, broken = found
            self._broken.append(ops.any(broken > 0))
        return found[0] if len(found) == 1 else tuple(found)

    def race(self, key):
        """The random numbers of a draw, an input of a function that draws, `(batch, length, n)`."""
        shape = ops.shape(self._logits.features[0])[:2]
        return random.race(shape, self._vocabulary_size, key)

    def draw(self, key, where=None):
        """A token for every open position, or for those that are asked for, int32 `(batch, length)`.

        Elsewhere the tokens are those of `z_t`, or 0 for a prediction without.
        """

        def winner(log_probs, sharpened, race):
            del log_probs
            return random.winner(sharpened, race)

        x = ops.cast(self.each(winner, self.race(key), where=where), "int32")
        where = self._asked(where)
        return x if where is None or self._z_t is None else ops.where(where, x, self._z_t)

    def _asked(self, where):
        """Of the positions that are asked for those that are open, or `None` for all."""
        if where is None or self._where_open is None:
            return self._where_open if where is None else where
        return ops.logical_and(where, self._where_open)

    def is_broken(self):
        """Whether a logit that was asked for is NaN, a bool tensor."""
        if not self.in_tiles:
            return ops.isnan(ops.sum(self._logits.table()))
        return ops.any(ops.stack(self._broken)) if self._broken else ops.cast(False, "bool")
