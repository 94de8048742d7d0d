"""What every model that is trained on tokens shares: random streams, `fit`, repeatable evaluation."""

import contextlib
import inspect

import keras
import numpy as np
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from keras_dmmd import backend
from keras_dmmd.training.checkpointing import ExactCheckpoints
from keras_dmmd.training.optimizers import check_trained, public_config
from keras_dmmd.training.reading import plain_error, read_data, read_validation
from keras_dmmd.training.updates import Count, Guard, averages_unless_error, with_callback


class SeededModel(ExactCheckpoints, keras.Model):
    """A `keras.Model` with a random stream for training and one for evaluation.

    Args:
        seed: of training; evaluation takes the next.

    Attributes:
        corruptions: of each row in evaluation.
        in_training: whether what runs now is training, on the host: what is traced meanwhile keeps it.
    """

    corruptions = 1
    _compiled_structure = None

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.in_training = False
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.evaluation_seed = keras.random.SeedGenerator(seed + 1)
        self.skipped = Count(name="skipped")

    def compile(self, *args, jit_compile="auto", **kwargs):
        """See `keras.Model.compile`."""
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        self._given_jit_compile = jit_compile

    def get_compile_config(self):
        """With `jit_compile` as it was given: `"auto"` means another thing on another backend.

        And with the optimizer's public name, which every backend knows.
        """
        config = super().get_compile_config()
        return config and {**public_config(config), "jit_compile": self._given_jit_compile}

    def fit(self, *args, **kwargs):
        """`keras.Model.fit`; returns its `History`. Afterwards the weights hold their EMA, if any.

        `y` is labels: what `{"tokens": x, "labels": y}` says. An error, or Ctrl-C, leaves the weights
        as the last finished update left them. An update whose loss or gradients are not finite is left
        out, and counted as `skipped` in the logs.

        Raises:
            FloatingPointError: `keras_dmmd.training.updates.PATIENCE` updates in a row were left out.
        """
        self._assert_compile_called("fit")
        check_trained(self)
        call = self._read_call(keras.Model.fit, args, kwargs)
        if call.get("class_weight") is not None:
            raise ValueError("`class_weight` has no meaning here: give examples a `sample_weight`.")
        call["validation_data"] = read_validation(self.reader, call.get("validation_data"))
        guard = Guard()
        call["callbacks"] = with_callback(call.get("callbacks"), guard)
        try:
            with self._kept(), averages_unless_error(self.optimizer), self.phase(training=True):
                history = super().fit(**call)
        finally:
            backend.unshare([*self.variables, *self.optimizer.variables])
        guard.check()
        return history

    def evaluate(self, *args, **kwargs):
        """`keras.Model.evaluate`; the same model and data give the same result."""
        self._assert_compile_called("evaluate")
        call = self._read_call(keras.Model.evaluate, args, kwargs, repeats=self.corruptions)
        with self._kept(), self.phase(training=False):
            return super().evaluate(**call)

    def predict(self, *args, **kwargs):
        """What `call` returns for each example; repeats, like `evaluate`."""
        call = self._read_call(keras.Model.predict, args, kwargs)
        self._rewind()
        with self._kept():
            return super().predict(**call)

    def train_on_batch(self, *args, **kwargs):
        """See `keras.Model.train_on_batch`."""
        self._assert_compile_called("train_on_batch")
        check_trained(self)
        call = self._read_call(keras.Model.train_on_batch, args, kwargs)
        with self._kept(), self.phase(training=True):
            return super().train_on_batch(**call)

    def test_on_batch(self, *args, **kwargs):
        """See `keras.Model.test_on_batch`."""
        call = self._read_call(keras.Model.test_on_batch, args, kwargs)
        with self._kept(), self.phase(training=False):
            return super().test_on_batch(**call)

    def predict_on_batch(self, x):
        """See `keras.Model.predict_on_batch`."""
        return super().predict_on_batch(self._read_call(keras.Model.predict_on_batch, (x,), {})["x"])

    @property
    def reader(self):
        """What reads the data of this model."""
        raise NotImplementedError

    @property
    def structure(self):
        """The variables that there are: other ones after `quantize` or `enable_lora`."""
        return tuple((v.path, v.dtype, tuple(v.shape)) for v in self.variables)

    def _renew(self):
        """Forget what Keras compiled for other variables, which TensorFlow would go on to read."""
        if self._compiled_structure != self.structure:
            self._compiled_structure = self.structure
            self.train_function = self.test_function = self.predict_function = None

    def _read_call(self, method, args, kwargs, repeats=1):
        """The arguments of a call of one of Keras's methods, its data read, each row so often."""
        self._renew()
        call = inspect.signature(method).bind(self, *args, **kwargs).arguments
        call.pop("self")
        call |= call.pop("kwargs", {})
        if isinstance(call.get("x"), DataAdapter) or call.get("_use_cached_eval_dataset"):
            return call
        options = {name: call[name] for name in ("batch_size", "shuffle") if call.get(name) is not None}
        options["steps_per_epoch"] = call.get("steps_per_epoch", call.get("steps"))
        data = {name: call.pop(name, None) for name in ("x", "y", "sample_weight")}
        x, y, sample_weight = read_data(self.reader, **data, repeats=repeats, **options)
        if repeats > 1:  # the copies of a row stay together
            call["batch_size"] = max(1, (call.get("batch_size") or 32) // repeats) * repeats
        read = {"x": x, "y": y, "sample_weight": sample_weight}
        return call | {name: value for name, value in read.items() if value is not None}

    @contextlib.contextmanager
    def _kept(self):
        """A context in which an error takes no weights along, and speaks for itself."""
        optimizer = self.optimizer.variables if self.compiled else []
        keep = backend.keeper([*self.variables, *optimizer, *self.metrics_variables])
        try:
            yield
        except BaseException as error:
            keep(self)
            plain = plain_error(error)
            if plain is error:
                raise
            raise plain from error

    @contextlib.contextmanager
    def phase(self, training):
        """A context in which what runs is training, or is not."""
        before, self.in_training = self.in_training, training
        try:
            yield
        finally:
            self.in_training = before

    def reset_metrics(self):
        """Also rewinds the noise of evaluation."""
        super().reset_metrics()
        self._rewind()

    def _rewind(self):
        self.evaluation_seed.state.assign(np.array([self.seed + 1, 0]))
