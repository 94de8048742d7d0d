"""What every model that is trained on tokens shares: random streams, `fit`, repeatable evaluation."""

import keras
import numpy as np

from keras_dmmd import backend
from keras_dmmd.training.checkpointing import ExactCheckpoints


class SeededModel(ExactCheckpoints, keras.Model):
    """A `keras.Model` with a random stream for training and one for evaluation.

    Args:
        seed: of training; evaluation takes the next.
    """

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.evaluation_seed = keras.random.SeedGenerator(seed + 1)

    def fit(self, *args, **kwargs):
        """`keras.Model.fit`; returns its `History`. Afterwards the weights hold their EMA, if any."""
        self._assert_compile_called("fit")
        try:
            return super().fit(*args, **_with_targets(args, kwargs))
        finally:
            backend.unshare([*self.variables, *self.optimizer.variables])

    def evaluate(self, *args, **kwargs):
        """`keras.Model.evaluate`; the same model and data give the same result."""
        return super().evaluate(*args, **_with_targets(args, kwargs))

    def predict(self, *args, **kwargs):
        """What `call` returns for each example; repeats, like `evaluate`."""
        self._rewind()
        return super().predict(*args, **kwargs)

    def reset_metrics(self):
        """Also rewinds the noise of evaluation."""
        super().reset_metrics()
        self._rewind()

    def _rewind(self):
        self.evaluation_seed.state.assign(np.array([self.seed + 1, 0]))


def _with_targets(args, kwargs):
    """Keras drops `sample_weight` where there is no `y`; any will do, nothing reads it."""
    weights = kwargs.get("sample_weight")
    if weights is not None and kwargs.get("y") is None and len(args) < 2:
        return {**kwargs, "y": weights}
    return kwargs
