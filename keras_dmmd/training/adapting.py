"""Copies of a model, adapters beside its weights, and weights of integers."""

import warnings

import keras

from keras_dmmd import checks
from keras_dmmd.models import changes
from keras_dmmd.models.adapters import enable
from keras_dmmd.models.stores import keep_adapters
from keras_dmmd.training import copying
from keras_dmmd.training.threads import reads


class Adapting:
    """Mixin of `DiffusionModel`: `copy`, `enable_lora`, `merged`, and files that keep them.

    What Keras does to the layers inside is kept, too: `model.quantize("int8")`, a backbone's
    `enable_lora`, `layer.trainable = False`.
    """

    _sampled_variables = None

    def copy(self, noise=None, seed=0, name=None, adapters=None, step_conditioning=None):
        """A model of its own with the same weights.

        It has the same adapters and integers, and is frozen where this one is, unless that is
        everywhere.

        Args:
            noise: the random input of the copy, for a denoiser with such an argument (see
                `keras_dmmd.Denoiser`); it starts without effect, so the logits are the same.
            seed: of the copy's training noise.
            name: of the copy.
            adapters: a rank, for a copy that has no weights of its own but adapters of that rank (see
                `enable_lora`) and its random input. It shares all others with this model, which is
                frozen from now on.
            step_conditioning: whether the copy is told how far a step goes, see `keras_dmmd.Denoiser`;
                `None` is as this model. It starts without effect, too.
        """
        if adapters is not None:
            checks.count("adapters", adapters)
        if step_conditioning is not None:
            checks.flag("step_conditioning", step_conditioning)
        copy = self._like(copying.copy_denoiser(self, noise, step_conditioning), seed, name)
        with reads(self):
            copying.copy_changes(self, copy)
            copying.copy_weights(self, copy)
        if adapters is not None:
            copy.enable_lora(adapters)
            copying.share_weights(self, copy)
        return copy

    def enable_lora(self, rank, target_layer_names=None):
        """Freeze the network, and train low-rank adapters in its place (arXiv 2106.09685).

        They are Keras's, start without effect, and are float32 beside weights of any kind. A random
        input stays as it is. Compile afterwards.

        Args:
            rank: of an adapter, but no more than its kernel has.
            target_layer_names: names of the layers that have one: `Dense`, `EinsumDense` or
                `Embedding`. By default every `Dense` and `EinsumDense`, but for the keys of KerasHub's
                attention.
        """
        checks.count("rank", rank)
        if target_layer_names is not None:
            target_layer_names = checks.texts("target_layer_names", target_layer_names)
        enable(self.denoiser, rank, target_layer_names, self.capabilities.added_layers)
        self._trainable = True

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """`keras.Model.quantize`, which says nothing of layers that have no weights to quantise.

        To be trained, such a model needs adapters. `generate` is as before; whether it is faster is up
        to the device.

        Args:
            mode: `"int8"`, or another of Keras's.
            config: a `keras.quantizers.QuantizationConfig`, in the place of a mode's default.
            filters: which layers: a regular expression for their names, or a list of such.
            **kwargs: of `keras.Model.quantize`.
        """
        if config is not None:
            checks.instances("config", [config], keras.quantizers.QuantizationConfig)
        if mode is not None or config is None:
            checks.text("mode", mode)
        if filters is not None:
            checks.texts("filters", [filters] if isinstance(filters, str) else filters)
        with changes.collections_of_what_is_new(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Layer .* does not have a `quantize` method")
            super().quantize(mode=mode, config=config, filters=filters, **kwargs)

    def merged(self, name=None):
        """A plain model that does the same: adapters are added to the weights, integers are floats.

        All its weights are its own, and trained again. Its random input stays.
        """
        noise = self.denoiser.get_config()["noise"] if self.capabilities.takes_noise else None
        copy = self._like(copying.copy_denoiser(self, noise), self.seed, name)
        with reads(self):
            copying.merge_weights(self, copy)
        return copy

    def _like(self, denoiser, seed, name):
        """A built model of this one's options around another denoiser."""
        model = type(self)(
            **{**self._options(), "denoiser": denoiser, "process": self.process},
            seed=seed,
            name=name,
        )
        model.build((None, self.length))
        return model

    def _options(self):
        """Arguments that a copy shares."""
        names = ("length", "steps", "sampler", "tokenizer", "label_dropout", "prompt_rate", "tiles")
        return {name: getattr(self, name) for name in names}

    @property
    def is_quantized(self):
        """Whether a layer of the network keeps its weights as integers."""
        return any(map(changes.is_quantized, changes.layers_of(self.denoiser)))

    # What generate compiled is of no use to a network that has other variables since.
    @property
    def _samplers(self):
        if self._sampled_variables != self.structure:
            self._sampled_variables, self._own_samplers = self.structure, {}
        return self._own_samplers

    # Files ----------------------------------------------------------------------------------------

    def _changes_config(self):
        found = changes.read(changes.layers_of(self)) if self.built else {}
        return {"changes": found} if found else {}

    def restore_changes(self, found):
        """Do to the layers what a config says under `changes`: see `keras_dmmd.models.changes`."""
        if not self.built:
            self.build((None, self.length))
        changes.restore(changes.layers_of(self), found)

    def save_own_variables(self, store):
        keep_adapters(changes.layers_of(self.denoiser))
        super().save_own_variables(store)

    def load_own_variables(self, store):
        keep_adapters(changes.layers_of(self.denoiser))
        super().load_own_variables(store)
