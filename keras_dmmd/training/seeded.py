"""What every model that is trained on tokens shares: random streams, `fit`, repeatable evaluation."""

import contextlib
import inspect

import keras
import numpy as np
from keras import ops, tree
from keras.src.trainers.data_adapters import array_slicing

from keras_dmmd import backend, checks
from keras_dmmd.training.arguments import check_call, check_compile
from keras_dmmd.training.backup import BackupAndResume
from keras_dmmd.training.batches import read_batches
from keras_dmmd.training.checkpointing import ExactCheckpoints
from keras_dmmd.training.optimizers import check_trained, public_config
from keras_dmmd.training.passes import AnyBatch, FirstPass
from keras_dmmd.training.rates import batches_seen, fixed_rates, warn_of_high_rates
from keras_dmmd.training.reading import is_host_data, plain_error, unpack
from keras_dmmd.training.threads import reads, trains
from keras_dmmd.training.updates import Count, Guard, averages_unless_error

# Seeds that Keras keeps on every backend.
SEEDS = 2**31


class SeededModel(ExactCheckpoints, keras.Model):
    """A `keras.Model` with a random stream for training and one for evaluation.

    Args:
        seed: of training, an integer of any sign; evaluation takes the next.

    Attributes:
        corruptions: of each row in evaluation.
        given_rates: the fixed learning rates that it was compiled with.
        in_training: whether what runs now is training, on the host: what is traced meanwhile keeps it.
    """

    corruptions = 1
    _compiled_structure = None

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = checks.integer("seed", seed)
        self.in_training = False
        self.seed_generator = keras.random.SeedGenerator(self.seed % SEEDS)
        self.evaluation_seed = keras.random.SeedGenerator((self.seed + 1) % SEEDS)
        self.skipped = Count(name="skipped")

    def compile(self, *args, jit_compile="auto", micro_batches=1, **kwargs):
        """See `keras.Model.compile`; `micro_batches` are the least parts that a batch is cut into."""
        self.micro_batches = checks.count("micro_batches", micro_batches)
        check_compile({**kwargs, "jit_compile": jit_compile})
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        self._given_jit_compile = jit_compile
        self.given_rates = tuple(float(ops.convert_to_numpy(v)) for v in fixed_rates(self.optimizer))

    def get_compile_config(self):
        """With `jit_compile` as it was given: `"auto"` means another thing on another backend.

        And with the optimizer's public name, which every backend knows.
        """
        config = super().get_compile_config()
        if not config:
            return config
        own = {"jit_compile": self._given_jit_compile, "micro_batches": self.micro_batches}
        return {**public_config(config), **own}

    def fit(self, *args, **kwargs):
        """`keras.Model.fit`; returns its `History`. Afterwards the weights hold their EMA, if any.

        `y` is labels: what `{"tokens": x, "labels": y}` says. An error, or Ctrl-C, leaves the weights
        as the last finished update left them. An update whose loss or gradients are not finite is left
        out, and counted as `skipped` in the logs. Arrays are gone through as often as `steps_per_epoch`
        and `epochs` need, and `initial_epoch` of a run whose weights were loaded sees them in the order
        that it would have had. A learning rate that has not come to the end of its schedule is warned
        of.

        Raises:
            RuntimeError: another thread trains or reads these weights; in callbacks of this `fit` all
                models may be sampled and evaluated.
            FloatingPointError: `keras_dmmd.training.updates.PATIENCE` updates in a row were left out.
        """
        self._assert_compile_called("fit")
        check_trained(self)
        call = _bind(keras.Model.fit, self, args, kwargs)
        check_call(call)
        with trains(self):
            return self._fit(self._with_batches(self._split(call), keras.Model.fit))

    def _fit(self, call):
        validation, batch_size = call.get("validation_data"), call.get("batch_size")
        if validation is not None:
            size = call.get("validation_batch_size") or batch_size
            options = {"batch_size": size, "steps_per_epoch": call.get("validation_steps")}
            try:
                parts = unpack(validation) if isinstance(validation, (tuple, list)) else (validation,)
                call["validation_data"] = read_batches(self.reader, *parts, **options)
            except ValueError as error:
                raise ValueError(f"`validation_data`: {error}") from error
        guard = Guard()
        first = FirstPass(call["x"], call.get("initial_epoch") or 0, call.get("steps_per_epoch"))
        call["callbacks"] = _with_own(call.get("callbacks"), self, [guard, AnyBatch()], first)
        try:
            self._begin_together()  # first, as what is kept includes the optimizer's state
            with self._kept(), averages_unless_error(self.optimizer), self.phase(training=True):
                history = super().fit(**call)
        finally:
            self._initial_epoch = None
            backend.unshare([*self.variables, *self.optimizer.variables])
        guard.check()
        if not self.stop_training:
            warn_of_high_rates(self.optimizer)
        return history

    def _begin_together(self):
        """Have all processes begin with the weights of the first, and with other dropout each."""
        if all(layer.built for layer in self._flatten_layers()):  # else Keras builds both, at a batch
            self._build_optimizer()
        own = [m for m in self._flatten_layers() if isinstance(m, SeededModel)]
        own = {id(s.state) for m in own for s in (m.seed_generator, m.evaluation_seed)}
        streams = [v for v in self._random_streams() if id(v) not in own]
        backend.begin_together(self, streams)

    def _split(self, call):
        """The arguments of `fit` with `validation_split` carried out, as Keras does: the last rows."""
        share = call.pop("validation_split", 0.0)
        if share and call.get("validation_data") is None:
            names = ("x", "y", "sample_weight")
            data = tuple(call.pop(name, None) for name in names)
            data, call["validation_data"] = array_slicing.train_validation_split(data, share)
            call |= zip(names, data, strict=True)
        return call

    def evaluate(self, *args, **kwargs):
        """`keras.Model.evaluate`; the same model and data give the same result."""
        self._assert_compile_called("evaluate")
        call = _bind(keras.Model.evaluate, self, args, kwargs)
        if not call.get("_use_cached_eval_dataset"):
            check_call(call)
            call = self._with_batches(call, keras.Model.evaluate, repeats=self.corruptions)
            call["callbacks"] = _with_own(call.get("callbacks"), self, [AnyBatch()])
        with reads(self), self._kept(), self.phase(training=False):
            return super().evaluate(**call)

    def predict(self, *args, **kwargs):
        """What `call` returns for each example; repeats, like `evaluate`."""
        call = _bind(keras.Model.predict, self, args, kwargs)
        check_call(call)
        call = self._with_batches(call, keras.Model.predict)
        call["callbacks"] = _with_own(call.get("callbacks"), self, [AnyBatch()])
        with reads(self), self._kept():
            self._rewind()
            return super().predict(**call)

    def train_on_batch(self, *args, **kwargs):
        """See `keras.Model.train_on_batch`."""
        self._assert_compile_called("train_on_batch")
        check_trained(self)
        call = self._with_batch(_bind(keras.Model.train_on_batch, self, args, kwargs))
        with trains(self), self._kept(), self.phase(training=True):
            return super().train_on_batch(**call)

    def test_on_batch(self, *args, **kwargs):
        """See `keras.Model.test_on_batch`."""
        call = self._with_batch(_bind(keras.Model.test_on_batch, self, args, kwargs))
        with reads(self), self._kept(), self.phase(training=False):
            return super().test_on_batch(**call)

    def predict_on_batch(self, x):
        """See `keras.Model.predict_on_batch`."""
        call = self._with_batch({"x": x})
        with reads(self):
            return super().predict_on_batch(call["x"])

    def export(self, *args, **kwargs):
        """Refused: what Keras would write is `call`, which is a loss.

        Raises:
            NotImplementedError: always; it says what to do.
        """
        raise NotImplementedError(
            f"A {type(self).__name__} has no call that could be exported: its `call` is a loss. Export "
            'what samples, of a distiller its student: `distiller.student.export("student.onnx")`.'
        )

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

    def _with_batches(self, call, method, repeats=1):
        """The arguments of a call of one of Keras's methods, with `Batches` for its data."""
        self._renew()
        data = {name: call.pop(name, None) for name in ("x", "y", "sample_weight")}
        parameters = inspect.signature(method).parameters
        shuffle = call.get("shuffle", getattr(parameters.get("shuffle"), "default", False))
        steps, batch_size = call.get("steps_per_epoch", call.get("steps")), call.get("batch_size")
        if repeats > 1 and (batch_size or not steps):  # the copies of a row stay together
            batch_size = max(1, (batch_size or 32) // repeats)
        seed = [self.seed % 2**64]
        options = {"batch_size": batch_size, "steps_per_epoch": steps, "shuffle": shuffle}
        # Keras would end an epoch where arrays do, and so make fewer steps than it was asked for.
        options["is_endless"] = method is keras.Model.fit and steps is not None
        batches = read_batches(self.reader, **data, repeats=repeats, seed=seed, **options)
        if method is keras.Model.fit:
            # A run that goes on has the order that it began with, so many batches ago.
            ago = (call.get("initial_epoch") or 0) * (steps or batches.num_batches or 0)
            batches.seed = [*seed, max(0, batches_seen(self.optimizer) - ago)]
        return call | {"x": batches}

    def _with_batch(self, call):
        """The arguments of a call with one batch, which is read."""
        self._renew()
        check_call(call)
        if not is_host_data(call["x"]):
            raise ValueError(f"`x` must be one batch of ids. Received: x={checks.shown(call['x'])}")
        data = [call.pop(name, None) for name in ("x", "y", "sample_weight")]
        with backend.telling():
            x, sample_weight = self.reader.read(*data)
        backend.gather_integers(0)
        weights = {} if sample_weight is None else {"y": sample_weight, "sample_weight": sample_weight}
        return call | {"x": x} | weights

    @contextlib.contextmanager
    def _kept(self):
        """A context in which an error takes no weights along, and speaks for itself."""
        optimizer = self.optimizer.variables if self.compiled else []
        keep = backend.keeper([*self.variables, *optimizer, *self.metrics_variables])
        try:
            yield
        except BaseException as error:
            keep(self)
            plain = backend.in_words(plain_error(error))
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

    def predict_step(self, *args):
        """See `keras.Model.predict_step`: of all processes' rows."""
        return backend.gather_rows(super().predict_step(*args))

    def get_metrics_result(self):
        """See `keras.Model.get_metrics_result`; of all processes, as those of training are anyway."""
        if self.in_training:
            return super().get_metrics_result()
        with backend.summed(self.metrics_variables):
            return super().get_metrics_result()

    def reset_metrics(self):
        """Also rewinds the noise of evaluation."""
        super().reset_metrics()
        self._rewind()

    def _rewind(self):
        self.evaluation_seed.state.assign(np.array([(self.seed + 1) % SEEDS, 0]))


def _bind(method, model, args, kwargs):
    """What a call of one of Keras's methods was given, by names."""
    call = inspect.signature(method).bind(model, *args, **kwargs).arguments
    call.pop("self")
    return call | call.pop("kwargs", {})


def _with_own(callbacks, model, own, first_pass=None):
    """What Keras takes as callbacks, with ours; those of `fit` begin with its `FirstPass`.

    Backups come last, after what they remember.
    """
    first = [] if first_pass is None else [first_pass]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        listed = callbacks.callbacks
        for callback in (*first, *own):
            callback.set_model(model)
    else:
        listed = callbacks = tree.flatten(callbacks) if callbacks else []
    listed[:] = [*first, *listed, *own]
    listed.sort(key=lambda callback: isinstance(callback, BackupAndResume))
    for callback in listed:
        if isinstance(callback, BackupAndResume):
            callback.attach(first_pass.batches if first_pass else None, listed)
    return callbacks
