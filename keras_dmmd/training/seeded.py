"""What every model that is trained on tokens shares: random streams, `fit`, repeatable evaluation."""

import contextlib

import keras
import numpy as np

from keras_dmmd import backend
from keras_dmmd.training.checkpointing import ExactCheckpoints


class SeededModel(ExactCheckpoints, keras.Model):
    """A `keras.Model` with a random stream for training and one for evaluation.

    Args:
        seed: of training; evaluation takes the next.

    Attributes:
        in_training: whether what runs now is training, on the host: what is traced meanwhile keeps it.
    """

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.in_training = False
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.evaluation_seed = keras.random.SeedGenerator(seed + 1)

    def compile(self, *args, jit_compile="auto", **kwargs):
        """See `keras.Model.compile`."""
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        self._given_jit_compile = jit_compile

    def get_compile_config(self):
        """With `jit_compile` as it was given: `"auto"` means another thing on another backend."""
        config = super().get_compile_config()
        return config and {**config, "jit_compile": self._given_jit_compile}

    def fit(self, *args, **kwargs):
        """`keras.Model.fit`; returns its `History`. Afterwards the weights hold their EMA, if any."""
        self._assert_compile_called("fit")
        self._check(args, kwargs)
        try:
            with self.phase(training=True):
                return super().fit(*args, **_with_targets(args, kwargs))
        finally:
            backend.unshare([*self.variables, *self.optimizer.variables])

    def evaluate(self, *args, **kwargs):
        """`keras.Model.evaluate`; the same model and data give the same result."""
        self._check(args, kwargs)
        with self.phase(training=False):
            return super().evaluate(*args, **_with_targets(args, kwargs))

    def train_on_batch(self, *args, **kwargs):
        """See `keras.Model.train_on_batch`."""
        with self.phase(training=True):
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """See `keras.Model.test_on_batch`."""
        with self.phase(training=False):
            return super().test_on_batch(*args, **kwargs)

    @contextlib.contextmanager
    def phase(self, training):
        """A context in which what runs is training, or is not."""
        before, self.in_training = self.in_training, training
        try:
            yield
        finally:
            self.in_training = before

    def predict(self, *args, **kwargs):
        """What `call` returns for each example; repeats, like `evaluate`."""
        self._check(args, kwargs)
        self._rewind()
        return super().predict(*args, **kwargs)

    def reset_metrics(self):
        """Also rewinds the noise of evaluation."""
        super().reset_metrics()
        self._rewind()

    def _check(self, args, kwargs):
        """Refuse arrays of tokens that are no ids: on an accelerator they would pass for others."""
        check_tokens(args[0] if args else kwargs.get("x"), self.process.vocabulary_size)
        validation = kwargs.get("validation_data")
        if isinstance(validation, (tuple, list)):
            validation = validation[0]
        check_tokens(validation, self.process.vocabulary_size)

    def _rewind(self):
        self.evaluation_seed.state.assign(np.array([self.seed + 1, 0]))


def check_tokens(inputs, vocabulary_size):
    """Refuse numpy tokens, alone or in a dict, that are no ids of the vocabulary."""
    tokens = inputs.get("tokens") if isinstance(inputs, dict) else inputs
    if not isinstance(tokens, np.ndarray) or tokens.size == 0:
        return
    low, high = tokens.min(), tokens.max()
    if not (0 <= low and high < vocabulary_size):
        raise ValueError(
            f"Tokens must be ids from 0 to {vocabulary_size - 1}. Received: values from {low} to {high}"
        )
    if tokens.dtype.kind == "f" and (tokens != np.floor(tokens)).any():
        raise ValueError(
            "Tokens must be integers; quantise images first. "
            f"Received: fractions, in an array of {tokens.dtype} from {low} to {high}"
        )


def _with_targets(args, kwargs):
    """Keras drops `sample_weight` where there is no `y`; any will do, nothing reads it."""
    weights = kwargs.get("sample_weight")
    if weights is not None and kwargs.get("y") is None and len(args) < 2:
        return {**kwargs, "y": weights}
    return kwargs
