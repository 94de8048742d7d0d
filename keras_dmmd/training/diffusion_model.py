"""A denoiser and a process: train it, measure it, sample from it."""

import math

import keras
from keras import ops

from keras_dmmd import random
from keras_dmmd.diffusion import DiffusionProcess
from keras_dmmd.sampling.sampler import Sampler
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
            `(batch, length, vocabulary)`. It may take `labels=`; one with a method
            `sample_noise(batch_size, length, seed)` is given its result as `noise=`.
        process: a `keras_dmmd.MaskedDiffusion` or `UniformDiffusion`.
        length: tokens of a sequence; by default that of the data seen first.
        seed: of the training noise.

    Call arguments:
        inputs: clean ids `(batch, length)`, or `{"tokens": ids, "labels": (batch,)}`. Returns the loss
            of each example in nats, `(batch,)`: the training loss, or the NELBO when not training.

    Example:

    ```python
    teacher = DiffusionModel(Denoiser(17, grid=(8, 8)), MaskedDiffusion(17))
    teacher.compile(optimizer="adamw")
    teacher.fit(tokens, epochs=20)
    images = teacher.generate(16, steps=64, seed=0)  # (16, 64)
    ```
    """

    def __init__(self, denoiser, process, length=None, seed=0, **kwargs):
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
        self.length = length
        self.bits_metric = keras.metrics.Mean(name="bits_per_dim")
        self._training = False
        self._samplers = {}
        if denoiser.built:
            self.build()

    def build(self, input_shape=None):
        shape = input_shape["tokens"] if isinstance(input_shape, dict) else input_shape
        if self.length is None and shape is not None and len(shape) == 2:
            self.length = shape[-1]
        if not self.denoiser.built:
            self.denoiser.build((None, self.length))
            self.denoiser.built = True
        self.built = True

    def logits(self, z_t, t, labels=None, seed=None, training=False):
        """Logits over clean tokens, `(batch, length, K)`, float32.

        Args:
            z_t: ids `(batch, length)`.
            t: times `(batch,)`.
            labels: ids `(batch,)` or `None`.
            seed: of the denoiser's random input, where it has one.
        """
        inputs = {} if labels is None else {"labels": labels}
        if self.takes_noise:
            inputs["noise"] = self.denoiser.sample_noise(*ops.shape(z_t), seed)
        if getattr(self.denoiser, "_call_has_training_arg", False):
            inputs["training"] = training
        return ops.cast(self.denoiser(z_t, t, **inputs), "float32")

    @property
    def takes_noise(self):
        """Whether the denoiser has a random input."""
        return hasattr(self.denoiser, "sample_noise") and (
            getattr(self.denoiser, "noise", True) is not None
        )

    def call(self, inputs, training=False):
        tokens, labels = unpack(inputs)
        if self.length is None:
            self.length = tokens.shape[1]
        batch_size = ops.shape(tokens)[0]
        key = random.as_key(self.seed_generator if training else self.evaluation_seed)
        time_key, corruption_key, noise_key = random.split(key, 3)
        t = self.process.training_times(batch_size, time_key)
        z_t = self.process.corrupt(tokens, t, corruption_key)
        logits = self.logits(z_t, t, labels=labels, seed=noise_key, training=training)
        loss = self.process.loss if training else self.process.nelbo
        return loss(logits, tokens, z_t, t)

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
        per_dim = y_pred / unpack(x)[0].shape[1]
        if not training:
            weights = example_weights(sample_weight)
            self.bits_metric.update_state(per_dim / math.log(2.0), sample_weight=weights)
        return weighted_mean(per_dim, sample_weight)

    def compile(self, optimizer="adamw", **kwargs):
        if kwargs.get("loss") is not None:
            raise ValueError(
                "A DiffusionModel's loss is its process's; `compile` takes no `loss`. "
                f"Received: loss={kwargs['loss']!r}"
            )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def generate(
        self,
        n=1,
        steps=64,
        seed=0,
        length=None,
        labels=None,
        temperature=1.0,
        top_p=None,
        batch_size=None,
        trajectory=False,
        jit_compile="auto",
        verbose="auto",
    ):
        """Sample `n` sequences in `steps` network calls.

        Args:
            n: number of samples.
            steps: network calls a sample, k >= 1.
            seed: an integer, a `keras.random.SeedGenerator` or a key: the same gives the same samples.
            length: tokens a sample; by default that of the training data.
            labels: one class for all, or `(n,)` of them.
            temperature: of the predictions, > 0.
            top_p: nucleus in (0, 1], or `None`.
            batch_size: samples drawn at once; by default as many as fit a fixed budget, halved if the
                device still runs out of memory.
            trajectory: whether to return every `z_t` on the way.
            jit_compile: `"auto"` is XLA on JAX and TensorFlow, eager on Torch.
            verbose: Keras's progress bar: 0, 1, or `"auto"`, for long runs only.

        Returns:
            int32 numpy `(n, length)`; with `trajectory`, `(steps + 1, n, length)` from `z_1` to `z_0`.
        """
        length = length or self.length
        if length is None:
            raise ValueError("This model has seen no data yet: pass `length` to `generate`.")
        if not self.built:
            self.build((None, length))
        if jit_compile not in self._samplers:
            self._samplers[jit_compile] = Sampler(self, jit_compile)
        return self._samplers[jit_compile](
            n,
            steps,
            length,
            seed,
            labels=labels,
            temperature=temperature,
            top_p=top_p,
            batch_size=batch_size,
            trajectory=trajectory,
            verbose=verbose,
        )

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
        copy = DiffusionModel(denoiser, self.process, length=self.length, seed=seed, name=name)
        copy.build((None, self.length))
        targets, sources = _without_noise(denoiser), _without_noise(self.denoiser)
        for target, source in zip(targets, sources, strict=True):
            # Through numpy: on JAX, `assign` from a variable shares a buffer that `fit` then donates.
            target.assign(ops.convert_to_numpy(source))
        return copy

    def get_config(self):
        return {
            "name": self.name,
            "denoiser": keras.saving.serialize_keras_object(self.denoiser),
            "process": keras.saving.serialize_keras_object(self.process),
            "length": self.length,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("denoiser", "process"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
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


def unpack(inputs):
    """`tokens, labels` from ids or `{"tokens", "labels"}`, with the shape checked."""
    if isinstance(inputs, dict):
        if "tokens" not in inputs:
            raise ValueError(
                "Inputs given as a dict need the entry 'tokens', and may have 'labels'. "
                f"Received: {sorted(inputs)}"
            )
        tokens, labels = inputs["tokens"], inputs.get("labels")
    else:
        tokens, labels = inputs, None
    if len(tokens.shape) != 2:
        raise ValueError(
            "Tokens must have shape (batch, length): flatten images to one row each. "
            f"Received: shape {tuple(tokens.shape)}"
        )
    if tokens.shape[1] is None:
        raise ValueError(
            "The length of token sequences must be known before they are read: pad them to one length. "
            f"Received: shape {tuple(tokens.shape)}"
        )
    return ops.cast(tokens, "int32"), labels


def example_weights(sample_weight):
    """`(batch,)` from `(batch,)` or a column, which would broadcast against it; `None` stays `None`."""
    return None if sample_weight is None else ops.reshape(sample_weight, (-1,))


def weighted_mean(values, sample_weight):
    """Mean over examples; weighted ones are summed, then divided by the batch, as Keras does."""
    if sample_weight is not None:
        values = values * ops.cast(example_weights(sample_weight), values.dtype)
    return ops.mean(values)
