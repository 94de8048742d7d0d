"""A denoiser and a process: train it, measure it, sample from it."""

import math

import keras
from keras import ops

from keras_dmmd import backend, random, tokenizers
from keras_dmmd.diffusion import DiffusionProcess
from keras_dmmd.sampling import conditions as sampling_conditions
from keras_dmmd.sampling.conditions import hold
from keras_dmmd.sampling.sampler import Sampler
from keras_dmmd.training.inputs import (
    dimensions,
    example_weights,
    given_prefixes,
    unpack,
    weighted_mean,
)
from keras_dmmd.training.seeded import SeededModel


@keras.saving.register_keras_serializable("keras_dmmd")
class DiffusionModel(SeededModel):
    """A discrete diffusion model: teacher and student are both one of these.

    `fit` minimises the process's training loss, `evaluate` reports the NELBO, `predict` returns the
    NELBO of every example, `generate` samples. For an EMA of the weights use Keras's own:
    `keras.optimizers.AdamW(1e-3, use_ema=True, ema_momentum=0.999)`, with
    `keras.callbacks.SwapEMAWeights` to evaluate it on the way.

    Args:
        denoiser: a layer `denoiser(z_t, t)` from ids `(batch, length)` and times `(batch,)` to logits
            `(batch, length, vocabulary)`. It may take `labels=`, and `known=` where its attribute
            `prompts` is true; one with a method `sample_noise(batch_size, length, seed)` is given its
            result as `noise=`; one whose attribute `self_conditioning` is true is shown its last
            prediction as `prediction=`; for one with a `block_size` see `keras_dmmd.BlockDenoiser`.
        process: a `keras_dmmd.MaskedDiffusion` or `UniformDiffusion`.
        length: tokens of a sequence; by default that of the data seen first.
        steps: network calls a sample where `generate` is not told: of a student, those it was made for.
        tokenizer: a `keras_dmmd.tokenizers.Tokenizer`, or `None`: kept with the model, and what reads
            and writes its texts.
        label_dropout: share of training examples whose label is hidden: what classifier-free guidance
            needs (Ho & Salimans, arXiv 2207.12598).
        prompt_rate: share of training examples of which a beginning of random length is given clean.
        seed: of the training noise.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict of these entries. Returns the loss of each
            example in nats, `(batch,)`: the training loss, or the NELBO when not training.
            `"tokens"`: clean ids. `"labels"`: classes `(batch,)`. `"known"`: bool `(batch, length)`,
            tokens that are given: they are never corrupted and carry no loss.

    Example:

    ```python
    teacher = DiffusionModel(Denoiser(17, grid=(8, 8)), MaskedDiffusion(17))
    teacher.compile(optimizer="adamw")
    teacher.fit(tokens, epochs=20)
    images = teacher.generate(16, steps=64, seed=0)  # (16, 64)
    ```
    """

    def __init__(
        self,
        denoiser,
        process,
        length=None,
        steps=64,
        tokenizer=None,
        label_dropout=0.0,
        prompt_rate=0.0,
        seed=0,
        **kwargs,
    ):
        kwargs.setdefault("dtype", getattr(denoiser, "dtype_policy", None))
        super().__init__(seed=seed, **kwargs)
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
        vocabulary_size = getattr(denoiser, "vocabulary_size", process.vocabulary_size)
        num_states = getattr(denoiser, "num_states", process.num_states)
        if vocabulary_size != process.vocabulary_size or num_states < process.num_states:
            raise ValueError(
                f"The denoiser takes {num_states} ids and predicts {vocabulary_size}, but the process "
                f"has {process.num_states} and {process.vocabulary_size}."
            )
        self.denoiser = denoiser
        self.process = process
        self.length, self.steps = length, steps
        self.tokenizer = tokenizers.get(tokenizer)
        self.label_dropout, self.prompt_rate = label_dropout, prompt_rate
        self._check_conditions()
        self.bits_metric = keras.metrics.Mean(name="bits_per_dim")
        self._training = False
        self._samplers = {}
        if denoiser.built:
            self.build()

    def build(self, input_shape=None):
        shape = input_shape["tokens"] if isinstance(input_shape, dict) else input_shape
        if self.length is None and shape is not None and len(shape) == 2:
            self.length = shape[-1]
        self._check_length(self.length)
        if not self.denoiser.built:
            self.denoiser.build((None, self.length))
            self.denoiser.built = True
        self.built = True

    def _check_conditions(self):
        if self.tokenizer and self.tokenizer.vocabulary_size != self.process.vocabulary_size:
            raise ValueError(
                f"The tokenizer has {self.tokenizer.vocabulary_size} ids, but the process "
                f"{self.process.vocabulary_size}."
            )
        for name in ("label_dropout", "prompt_rate"):
            rate = getattr(self, name)
            if not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
                raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {rate!r}")
        if self.label_dropout and not getattr(self.denoiser, "num_classes", None):
            raise ValueError("`label_dropout` needs a denoiser with labels: `num_classes` is not set.")
        if self.prompt_rate and not self.shows_known:
            raise ValueError(
                f"Under {type(self.process).__name__} a clean prompt looks like noise: `prompt_rate` "
                "needs a denoiser that is told of it, such as Denoiser(..., prompts=True)."
            )

    @property
    def block_size(self):
        """Tokens that are generated at once, or `None`, which is all of them."""
        return getattr(self.denoiser, "block_size", None)

    def _check_length(self, length):
        if length is not None and self.block_size and length % self.block_size:
            raise ValueError(
                f"This model writes blocks of {self.block_size} tokens: lengths must be multiples of "
                f"it. Received: length={length}"
            )

    def logits(
        self,
        z_t,
        t,
        labels=None,
        known=None,
        guidance_scale=None,
        seed=None,
        training=False,
        **more,
    ):
        """Logits over clean tokens, `(batch, length, K)`, float32.

        Args:
            z_t: ids `(batch, length)`.
            t: times `(batch,)`.
            labels: ids `(batch,)` or `None`.
            known: which tokens are given, bool `(batch, length)`, or `None`.
            **more: its last `prediction`, probabilities `(batch, length, K)`, of a denoiser with
                self-conditioning; of one of blocks `context`, or `cache` and `start`.
            guidance_scale: w: `log x̂(z_t) + w [log x̂(z_t | label) - log x̂(z_t)]`, in two network
                calls. `None` is 1, the label as it stands.
            seed: of the denoiser's random input, where it has one.
        """
        inputs = {name: value for name, value in more.items() if value is not None}
        if known is not None and getattr(self.denoiser, "prompts", False):
            inputs["known"] = known
        if self.takes_noise:
            inputs["noise"] = self.denoiser.sample_noise(*ops.shape(z_t), seed)
        if getattr(self.denoiser, "_call_has_training_arg", False):
            inputs["training"] = training
        told = inputs if labels is None else {**inputs, "labels": labels}
        logits = ops.cast(self.denoiser(z_t, t, **told), "float32")
        if guidance_scale is None or labels is None:
            return logits
        free = ops.log_softmax(ops.cast(self.denoiser(z_t, t, **inputs), "float32"), axis=-1)
        return free + guidance_scale * (ops.log_softmax(logits, axis=-1) - free)

    @property
    def shows_known(self):
        """Whether the network can tell given tokens, which are clean, from corrupted ones."""
        return self.process.shows_known or bool(getattr(self.denoiser, "prompts", False))

    @property
    def self_conditioning(self):
        """Whether the network is shown its last prediction."""
        return bool(getattr(self.denoiser, "self_conditioning", False))

    def self_condition(self, z_t, t, told, key):
        """`told` with a first prediction of `z_t`, for half of the examples (arXiv 2208.04202).

        Returns:
            `told, key`: a key to go on with, the one given where there is no self-conditioning.
        """
        if not self.self_conditioning:
            return told, key
        noise_key, coin_key, key = random.split(key, 3)
        with backend.no_gradient():
            logits = self.logits(z_t, t, **told, seed=noise_key)
            shown = random.uniform((ops.shape(z_t)[0], 1, 1), coin_key) < 0.5
            first = ops.where(shown, ops.softmax(logits, axis=-1), 0.0)
        return {**told, "prediction": ops.stop_gradient(first)}, key

    @property
    def takes_noise(self):
        """Whether the denoiser has a random input."""
        return hasattr(self.denoiser, "sample_noise") and (
            getattr(self.denoiser, "noise", True) is not None
        )

    def told(self, tokens, conditions, key, training=True):
        """What `logits` are told of a batch: its conditions, and the clean tokens for later blocks.

        In training labels are hidden and beginnings given at random, at the model's own rates.

        Returns:
            `conditions, key`: a key to go on with, the one given where nothing was drawn.
        """
        if self.block_size:
            conditions = {**conditions, "context": tokens}
        if not training or not (self.label_dropout or self.prompt_rate):
            return conditions, key
        conditions = dict(conditions)
        batch_size, length = ops.shape(tokens)
        label_key, prompt_key, key = random.split(key, 3)
        if self.label_dropout and "labels" in conditions:
            hidden = random.uniform((batch_size,), label_key) < self.label_dropout
            labels = ops.cast(conditions["labels"], "int32")
            conditions["labels"] = ops.where(hidden, self.denoiser.num_classes, labels)
        if self.prompt_rate:
            prefixes = given_prefixes(batch_size, length, self.prompt_rate, prompt_key)
            known = conditions.get("known")
            conditions["known"] = prefixes if known is None else ops.logical_or(prefixes, known)
        return conditions, key

    def call(self, inputs, training=False):
        tokens, conditions = unpack(inputs)
        if self.length is None:
            self.length = tokens.shape[1]
        batch_size = ops.shape(tokens)[0]
        key = random.as_key(self.seed_generator if training else self.evaluation_seed)
        conditions, key = self.told(tokens, conditions, key, training)
        time_key, corruption_key, noise_key = random.split(key, 3)
        t = self.process.training_times(batch_size, time_key)
        known = conditions.get("known")
        z_t = hold(known, tokens, self.process.corrupt(tokens, t, corruption_key))
        if training:
            conditions, noise_key = self.self_condition(z_t, t, conditions, noise_key)
        logits = self.logits(z_t, t, **conditions, seed=noise_key, training=training)
        loss = self.process.loss if training else self.process.nelbo
        if known is None:
            return loss(logits, tokens, z_t, t)
        return loss(logits, tokens, z_t, t, where=ops.logical_not(known))

    @property
    def metrics(self):
        # Not those of a denoiser that is a compiled model itself.
        return [*([self._loss_tracker] if self.compiled else []), self.bits_metric]

    def get_metrics_result(self):
        """Without `bits_per_dim` while training, whose loss need not be a bound."""
        result = super().get_metrics_result()
        if self._training:
            result.pop(self.bits_metric.name, None)
        return result

    def compute_output_shape(self, input_shape):
        shape = input_shape["tokens"] if isinstance(input_shape, dict) else input_shape
        return (shape[0],)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean loss in nats a token; the NELBO also goes into `bits_per_dim` when not training."""
        self._training = training
        per_dim = y_pred / dimensions(x)
        if not training:
            weights = example_weights(sample_weight)
            self.bits_metric.update_state(per_dim / math.log(2.0), sample_weight=weights)
        return weighted_mean(per_dim, sample_weight)

    def compile(self, optimizer="adamw", **kwargs):
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    "A DiffusionModel's loss and metric are its process's; `compile` takes no "
                    f"`{name}`. Received: {name}={kwargs[name]!r}"
                )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @classmethod
    def from_preset(cls, preset):
        """`keras_dmmd.from_preset`, where the model is one of this class."""
        from keras_dmmd import presets

        model = presets.from_preset(preset)
        if not isinstance(model, cls):
            raise ValueError(f"The preset {preset!r} is a {type(model).__name__}, no {cls.__name__}.")
        return model

    def save_to_preset(self, folder, card=None):
        """`keras_dmmd.presets.save_to_preset` of this model."""
        from keras_dmmd import presets

        presets.save_to_preset(self, folder, card=card)

    def generate(
        self,
        n=None,
        steps=None,
        seed=0,
        length=None,
        prompts=None,
        known=None,
        labels=None,
        guidance_scale=None,
        temperature=1.0,
        top_p=None,
        batch_size=None,
        trajectory=False,
        jit_compile="auto",
        verbose="auto",
    ):
        """Sample `n` sequences in `steps` network calls each.

        Args:
            n: number of samples; by default that of the prompts, or 1.
            steps: network calls a sample, or a block of it, k >= 1; by default the model's own `steps`.
            seed: an integer, a `keras.random.SeedGenerator` or a key: the same gives the same samples.
            length: tokens a sample; by default that of the training data.
            prompts: a list of one prompt a sample, or of one for all. A prompt is how the sample
                begins: a string, ids `(m,)`, or a list of such parts with `keras_dmmd.Gap`s between
                them, `["We, the ", Gap(12), " of the"]`. What is given is never altered.
            known: which tokens of `prompts` are given, bool `(n, length)`; `prompts` are then ids
                `(n, length)`.
            labels: one class for all, or `(n,)` of them.
            guidance_scale: strength of classifier-free guidance by the labels, in two network calls a
                step; `None` or 1 is none.
            temperature: of the predictions, > 0.
            top_p: nucleus in (0, 1], or `None`.
            batch_size: samples drawn at once; by default as many as fit a fixed budget, halved if the
                device still runs out of memory.
            trajectory: whether to return every `z_t` on the way.
            jit_compile: `"auto"` is XLA on JAX and TensorFlow, eager on Torch.
            verbose: Keras's progress bar: 0, 1, or `"auto"`, for long runs only.

        Returns:
            int32 numpy `(n, length)`; with `trajectory`, `(calls + 1, n, length)` from `z_1` to `z_0`.
            For prompts that are text, a list of `n` strings, each up to its first end token; with
            `trajectory` ids all the same.
        """
        length = length or self.length
        if length is None:
            raise ValueError("This model has seen no data yet: pass `length` to `generate`.")
        self._check_length(length)
        if not self.built:
            self.build((None, length))
        n = sampling_conditions.count(n, prompts)
        labels = sampling_conditions.read_labels(labels, n, getattr(self.denoiser, "num_classes", None))
        *prompt, texts = sampling_conditions.read_prompts(
            prompts, known, n, length, self.process.vocabulary_size, self.tokenizer
        )
        told = sampling_conditions.Conditions(labels, *prompt)
        if self.block_size:
            told.check_order(self.block_size)
        if jit_compile not in self._samplers:
            self._samplers[jit_compile] = Sampler(self, jit_compile)
        samples = self._samplers[jit_compile](
            n,
            self.steps if steps is None else steps,
            length,
            seed,
            told,
            temperature=temperature,
            top_p=top_p,
            guidance_scale=guidance_scale,
            batch_size=batch_size,
            trajectory=trajectory,
            verbose=verbose,
        )
        return self.tokenizer.decode(samples) if texts and not trajectory else samples

    def copy(self, noise=None, seed=0, name=None):
        """A model of its own with the same weights.

        Args:
            noise: the random input of the copy, for a denoiser with such an argument (see
                `keras_dmmd.Denoiser`); it starts without effect, so the logits are the same.
            seed: of the copy's training noise.
            name: of the copy.
        """
        config = {**self.denoiser.get_config(), "trainable": True}  # a teacher may be frozen
        if "noise" in config:
            config["noise"] = noise
        elif noise is not None:
            raise ValueError(
                f"{type(self.denoiser).__name__} has no random input to copy it with "
                f"`noise={noise!r}`: give the student yourself, or pass `noise=None`."
            )
        try:
            denoiser = type(self.denoiser).from_config(config)
        except TypeError as error:  # what Keras makes of an error in a constructor
            raise ValueError(f"The denoiser cannot be copied with noise={noise!r}: {error}") from error
        own = {"denoiser": denoiser, "process": self.process, "seed": seed, "name": name}
        copy = DiffusionModel(**{**self._options(), **own})
        copy.build((None, self.length))
        targets, sources = _without_noise(denoiser), _without_noise(self.denoiser)
        for target, source in zip(targets, sources, strict=True):
            # Through numpy: on JAX, `assign` from a variable shares a buffer that `fit` then donates.
            target.assign(ops.convert_to_numpy(source))
        return copy

    def _options(self):
        """Arguments that a copy shares."""
        names = ("length", "steps", "tokenizer", "label_dropout", "prompt_rate")
        return {name: getattr(self, name) for name in names}

    def get_config(self):
        objects = {name: getattr(self, name) for name in ("denoiser", "process", "tokenizer")}
        return {
            "name": self.name,
            **self._options(),
            **{k: keras.saving.serialize_keras_object(v) for k, v in objects.items()},
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("denoiser", "process", "tokenizer"):
            config[name] = keras.saving.deserialize_keras_object(
                config.get(name), custom_objects=custom_objects
            )
        return cls(**config)

    def get_build_config(self):
        return {"input_shape": (None, self.length)}

    def build_from_config(self, config):
        self.build(tuple(config["input_shape"]))


def _without_noise(denoiser):
    """Weights apart from those of the random input."""
    own = {id(v) for v in getattr(getattr(denoiser, "noise", None), "weights", [])}
    return [v for v in denoiser.weights if id(v) not in own]
