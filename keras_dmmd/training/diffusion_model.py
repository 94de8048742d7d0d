"""A denoiser and a process: train it, measure it, sample from it."""

import keras
from keras import ops

from keras_dmmd import backend, checks, presets, random, samplers, tokenizers
from keras_dmmd.conditions import open_tokens
from keras_dmmd.configs import check_config
from keras_dmmd.diffusion import DiffusionProcess
from keras_dmmd.diffusion.probing import probe
from keras_dmmd.models.capabilities import Capabilities
from keras_dmmd.sampling.grids import MOST_CALLS
from keras_dmmd.training.adapting import Adapting
from keras_dmmd.training.arguments import check_optimizer
from keras_dmmd.training.corruption import batch_size_of, corrupt_batch
from keras_dmmd.training.evaluation import Evaluation, MeanAndError
from keras_dmmd.training.generation import Generation
from keras_dmmd.training.inputs import weighted_mean
from keras_dmmd.training.network import Network
from keras_dmmd.training.optimizers import public_config
from keras_dmmd.training.reading import Reader
from keras_dmmd.training.seeded import SeededModel
from keras_dmmd.training.updates import update
from keras_dmmd.vocabulary.tiles import check_tiles

# What is serialised as an object of its own.
OBJECTS = ("denoiser", "process", "sampler", "tokenizer")


@keras.saving.register_keras_serializable("keras_dmmd")
class DiffusionModel(Network, Generation, Evaluation, Adapting, backend.StatefulTrainStep, SeededModel):
    """A discrete diffusion model: teacher and student are both one of these.

    `fit` minimises the process's training loss, `evaluate` reports the NELBO, `predict` returns the
    NELBO of every example, `generate` samples. For an EMA of the weights use Keras's own:
    `keras.optimizers.AdamW(1e-3, use_ema=True, ema_momentum=0.999)`, with
    `keras.callbacks.SwapEMAWeights` to evaluate it on the way.

    Args:
        denoiser: a layer `denoiser(z_t, t)` from ids `(batch, length)` and times `(batch,)` to logits
            `(batch, length, vocabulary)`; what else it may be told, docs/extending.md says.
        process: a `keras_dmmd.MaskedDiffusion`, `UniformDiffusion` or `HybridDiffusion`.
        length: tokens of a sequence; by default that of the data seen first.
        steps: network calls per sample where `generate` is not told: of a student, those it was made
            for.
        sampler: a `keras_dmmd.samplers.Stepper` or its name, what `generate` samples by; by default
            ancestral sampling.
        tokenizer: a `keras_dmmd.tokenizers.Tokenizer`, or `None`: kept with the model, and what reads
            and writes its texts.
        label_dropout: share of training examples whose label is hidden: what classifier-free guidance
            needs (Ho & Salimans, arXiv 2207.12598).
        prompt_rate: share of training examples of which a beginning of random length is given clean.
        tiles: positions whose logits are made at once in training: a number, `True` for one that
            suits the vocabulary, `False` for all, or `"auto"`: all, up to some thousand words.
        seed: of the training noise.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict of these entries. Returns the loss of each
            example in nats, `(batch,)`: the training loss, or the NELBO when not training.
            `"tokens"`: clean ids. `"labels"`: classes `(batch,)`. `"known"`: bool `(batch, length)`,
            tokens that are given: they are never corrupted and carry no loss.
        key: of the draws of training; the next of the model's own by default.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    denoiser = kd.Denoiser(17, grid=(8, 8), **kd.Denoiser.sizes["tiny"])
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(17))
    teacher.compile(optimizer="adamw")
    teacher.fit(tokens, epochs=20)
    images = teacher.generate(16, steps=16, seed=0)  # (16, 64)
    ```
    """

    def __init__(
        self,
        denoiser,
        process,
        length=None,
        steps=64,
        sampler=None,
        tokenizer=None,
        label_dropout=0.0,
        prompt_rate=0.0,
        tiles="auto",
        seed=0,
        **kwargs,
    ):
        if not isinstance(process, DiffusionProcess):
            raise ValueError(
                "`process` must be a keras_dmmd.MaskedDiffusion, UniformDiffusion or another "
                f"DiffusionProcess. Received: process={process!r}"
            )
        if not isinstance(denoiser, keras.layers.Layer):
            raise ValueError(
                "`denoiser` must be a Keras layer or model called as denoiser(z_t, t). "
                f"Received: denoiser={denoiser!r}"
            )
        check_config("denoiser", denoiser, keras.layers.Layer, keras.Model)
        probe(process)
        capabilities = Capabilities.of(denoiser, process)
        kwargs.setdefault("dtype", capabilities.dtype_policy)
        super().__init__(seed=seed, **kwargs)
        self.denoiser = denoiser
        self.process = process
        self.capabilities = capabilities
        self.length = None if length is None else checks.count("length", length)
        self.steps = checks.count("steps", steps, most=MOST_CALLS)
        self.sampler = samplers.get(sampler)
        self.sampler.check(process)
        self.tokenizer = tokenizers.get(tokenizer)
        self.check_length(length)
        self.label_dropout = checks.number("label_dropout", label_dropout, high=1.0)
        self.prompt_rate = checks.number("prompt_rate", prompt_rate, high=1.0)
        self.tiles = check_tiles(tiles)
        self._check_conditions()
        self.bits_metric = MeanAndError(name="bits_per_dim")
        if denoiser.built:
            self.build()

    def build(self, input_shape=None):
        shape = input_shape.get("tokens") if isinstance(input_shape, dict) else input_shape
        if shape is not None and (not isinstance(shape, (tuple, list)) or len(shape) != 2):
            raise ValueError(
                "`input_shape` must be (None, length), or a dict with such an entry 'tokens'. "
                f"Received: input_shape={checks.shown(input_shape)}"
            )
        if self.length is None and shape is not None and shape[-1] is not None:
            self.length = checks.count("length", shape[-1])
        self.check_length(self.length)
        has_build = type(self.denoiser).build not in (keras.layers.Layer.build, keras.Model.build)
        if has_build and not self.denoiser.built:
            self.denoiser.build((None, self.length))
            self.denoiser.built = True
        # What has no `build` of its own, a call builds: weights are then there to be copied and loaded.
        if self.length and any(not layer.built for layer in self.denoiser._flatten_layers()):
            with backend.no_gradient():
                z_t, t = ops.zeros((1, self.length), "int32"), ops.ones((1,))
                self.logits(z_t, t, self._every_condition(self.length), seed=random.as_key(0))
        self.built = True

    @property
    def reader(self):
        return Reader(self)

    def _begin_together(self):
        if self.length and not self.built:  # by Keras it would be built where TensorFlow traces
            self.build()
        super()._begin_together()

    def _check_conditions(self):
        if self.tokenizer and self.tokenizer.vocabulary_size != self.process.vocabulary_size:
            raise ValueError(
                f"The tokenizer has {self.tokenizer.vocabulary_size} ids, but the process "
                f"{self.process.vocabulary_size}."
            )
        if self.label_dropout and not self.capabilities.num_classes:
            raise ValueError("`label_dropout` needs a denoiser with labels: `num_classes` is not set.")
        if self.prompt_rate and not self.shows_known:
            raise ValueError(
                f"Under {type(self.process).__name__} a clean prompt looks like noise: `prompt_rate` "
                "needs a denoiser that is told of it, such as Denoiser(..., prompts=True)."
            )

    def check_length(self, length):
        """Raise a `ValueError` where sequences cannot have this length."""
        most = self.capabilities.max_length
        if length is not None and most is not None and length > most:
            raise ValueError(
                f"This {type(self.denoiser).__name__} has positions for {most} tokens, so no sequence "
                f"may be longer. Received: length={length}"
            )
        grid = self.capabilities.grid
        if length is not None and grid and length != grid[0] * grid[1]:
            raise ValueError(
                f"This model's sequences are images of {grid[0]} rows of {grid[1]} tokens. "
                f"Received: length={length}"
            )
        size = self.capabilities.block_size
        if length is not None and size and length % size:
            raise ValueError(
                f"This model writes blocks of {size} tokens: lengths must be multiples of it. "
                f"Received: length={length}"
            )

    def call(self, inputs, training=False, key=None):
        with random.batch_rows(batch_size_of(inputs)):
            return self._call(inputs, training, key)

    def _call(self, inputs, training, key):
        if training:
            key = random.as_key(self.seed_generator if key is None else key)
            time_key, corruption_key, noise_key = random.split(key, 3)
            t = self.process.training_times(batch_size_of(inputs), time_key)
        else:
            t, corruption_key, noise_key = self._evaluation_draws(batch_size_of(inputs))
        batch = corrupt_batch(self, inputs, t, corruption_key, training)
        conditions = batch.conditions
        if self.length is None:
            self.length = batch.tokens.shape[1]
        if training:
            conditions, noise_key = self.self_condition(batch.z_t, t, conditions, noise_key)
        logits = self.deferred_logits(batch.z_t, t, conditions, seed=noise_key, training=training)
        logits = logits if logits.tiles else logits.table()
        loss = self.process.loss if training else self.process.nelbo
        return loss(logits, batch.tokens, batch.z_t, t, where=conditions.unknown)

    @property
    def metrics(self):
        # Not those of a denoiser that is a compiled model itself.
        return [*([self._loss_tracker] if self.compiled else []), self.bits_metric, self.skipped]

    def get_metrics_result(self):
        """Without `bits_per_dim` while training, whose loss need not be a bound."""
        left_out = self.bits_metric.name if self.in_training else self.skipped.name
        result = super().get_metrics_result()
        return {k: v for k, v in result.items() if not k.startswith(left_out)}

    def update(self, data):
        """One update on a batch; returns the logs."""
        inputs, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        key = random.as_key(self.seed_generator)

        def loss_and_logs(inputs, sample_weight):
            values = self(inputs, training=True, key=key)
            return [(self.compute_loss(x=inputs, y_pred=values, sample_weight=sample_weight), {})]

        with random.batch_rows(batch_size_of(inputs)):
            parts = [(self.optimizer, self.trainable_variables)]
            (made,) = update(parts, loss_and_logs, (inputs, sample_weight), self.micro_batches)
            examples = ops.cast(random.rows_of(batch_size_of(inputs)).total, "float32")
        self._loss_tracker.update_state(
            ops.stop_gradient(made.loss), sample_weight=made.finite * examples
        )
        self.skipped.update_state(1.0 - made.finite)
        with self.phase(training=True):
            return self.get_metrics_result()

    def compute_output_shape(self, input_shape):
        shape = input_shape["tokens"] if isinstance(input_shape, dict) else input_shape
        return (shape[0],)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean loss in nats per token; the NELBO also goes into `bits_per_dim` when not training.

        That is a mean over open tokens: a row with more of them counts for more, one that is given
        whole for nothing.
        """
        counted = open_tokens(x)
        per_token = y_pred / ops.maximum(counted, 1.0)
        if not training:
            self.measure_bits(per_token, counted, sample_weight)
            return backend.keras_loss(weighted_mean(per_token, sample_weight))
        return weighted_mean(per_token, sample_weight)

    def compile(self, optimizer="adamw", sampler=None, **kwargs):
        """Configure training, and sampling.

        Args:
            optimizer: a Keras optimizer or its name.
            sampler: see `DiffusionModel`; `None` leaves the model's own.
            **kwargs: of `keras.Model.compile`, but for losses and metrics. `micro_batches`: into how
                many parts, at least, each batch is cut in training, in the memory of one of them; the
                updates are those of whole batches.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    "A DiffusionModel's loss and metric are its process's; `compile` takes no "
                    f"`{name}`. Received: {name}={kwargs[name]!r}"
                )
        if sampler is not None:
            stepper = samplers.get(sampler)
            stepper.check(self.process)
            self.sampler = stepper
        super().compile(optimizer=check_optimizer("optimizer", optimizer), **kwargs)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(public_config(config)))
        self.optimizer.build(self.trainable_variables)

    @classmethod
    def from_preset(cls, preset):
        """`keras_dmmd.from_preset`, where the model is one of this class."""
        model = presets.from_preset(preset)
        if not isinstance(model, cls):
            raise ValueError(f"The preset {preset!r} is a {type(model).__name__}, no {cls.__name__}.")
        return model

    def save_to_preset(self, folder, card=None):
        """`keras_dmmd.presets.save_to_preset` of this model."""
        presets.save_to_preset(self, folder, card=card)

    def get_config(self):
        objects = {name: getattr(self, name) for name in OBJECTS}
        return {
            "name": self.name,
            **self._options(),
            **{k: keras.saving.serialize_keras_object(v) for k, v in objects.items()},
            "seed": self.seed,
            **self._changes_config(),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        changes = config.pop("changes", None)
        for name in OBJECTS:
            config[name] = keras.saving.deserialize_keras_object(
                config.get(name), custom_objects=custom_objects
            )
        model = cls(**config)
        if changes:
            model.restore_changes(changes)
        return model

    def get_build_config(self):
        return {"input_shape": (None, self.length)}

    def build_from_config(self, config):
        self.build(tuple(config["input_shape"]))
