"""What a model asks of its denoiser: logits, with what the denoiser can be told."""

from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.conditions import NOTHING
from keras_dmmd.vocabulary import Logits, Tiles


class Network:
    """Mixin of `DiffusionModel`: calls of its denoiser."""

    def logits(self, z_t, t, conditions=NOTHING, guidance_scale=None, seed=None, training=False):
        """Logits over clean tokens, `(batch, length, K)`, float32; else `deferred_logits`."""
        return self.deferred_logits(z_t, t, conditions, guidance_scale, seed, training).table()

    def deferred_logits(
        self, z_t, t, conditions=NOTHING, guidance_scale=None, seed=None, training=False
    ):
        """`keras_dmmd.vocabulary.Logits` over clean tokens: those of `logits`, made where asked for.

        Args:
            z_t: ids `(batch, length)`.
            t: times `(batch,)`.
            conditions: the `keras_dmmd.conditions.Conditions` of the batch.
            guidance_scale: w: `log x̂(z_t) + w [log x̂(z_t | label) - log x̂(z_t)]`, in two network
                passes. `None` is 1, the label as it stands.
            seed: of the denoiser's random input, where it has one.
            training: whether the network is trained.
        """
        inputs = self._network_inputs(conditions)
        if self.capabilities.noise:
            inputs["noise"] = self.denoiser.sample_noise(*ops.shape(z_t), seed)
        if self.capabilities.training_argument:
            inputs["training"] = training
        logits = self._call_denoiser(z_t, t, inputs)
        if guidance_scale is None or conditions.labels is None:
            return logits
        del inputs["labels"]
        return logits.guided_by(self._call_denoiser(z_t, t, inputs), guidance_scale)

    @property
    def tiling(self):
        """How positions are divided where logits are made: `keras_dmmd.vocabulary.Tiles`."""
        has_head = self.capabilities.has_head
        return Tiles.of(self.tiles, self.process.vocabulary_size) if has_head else Tiles()

    def _call_denoiser(self, z_t, t, inputs):
        """`Logits` of one call: of features, where the denoiser has a head, else of the table."""
        if self.tiling:
            features = self.denoiser.features(z_t, t, **inputs)
            return Logits((features,), self.denoiser.logits, self.tiling)
        logits = self.denoiser(z_t, t, **inputs)
        words = self.process.vocabulary_size
        if len(logits.shape) != 3 or logits.shape[-1] not in (None, words):
            raise ValueError(
                f"{type(self.denoiser).__name__} must return logits (batch, length, {words}) of clean "
                f"tokens, without a mask among them. Received: shape {tuple(logits.shape)}"
            )
        return Logits.of(ops.cast(logits, "float32"))

    def _network_inputs(self, conditions):
        """What of the conditions the network takes, as keyword arguments."""
        names = ["labels", "context", "prediction", "cache", "start"]
        if self.capabilities.prompts:
            names.append("known")
        if self.capabilities.step_conditioning:
            names.append("step_size")
        if self.capabilities.padding:
            names.append("valid")
        inputs = {name: getattr(conditions, name) for name in names}
        return {name: value for name, value in inputs.items() if value is not None}

    def _every_condition(self, length):
        """`Conditions` of one row in which there is all that the network can be told."""
        can, words = self.capabilities, self.process.vocabulary_size
        found = {"labels": ops.zeros((1,), "int32")} if can.num_classes else {}
        if can.prompts:
            found["known"] = ops.zeros((1, length), "bool")
        if can.padding:
            found["valid"] = ops.ones((1, length), "bool")
        if can.self_conditioning:
            found["prediction"] = ops.zeros((1, length, words))
        if can.step_conditioning:
            found["step_size"] = ops.ones((1,))
        return NOTHING._replace(**found)

    @property
    def shows_known(self):
        """Whether the network can tell given tokens, which are clean, from corrupted ones."""
        return self.process.absorbing or self.capabilities.prompts

    def self_condition(self, z_t, t, conditions, key):
        """Conditions with a first prediction of `z_t`, for half of the examples (arXiv 2208.04202).

        Returns:
            `conditions, key`: a key to go on with, the one given where there is no self-conditioning.
        """
        if not self.capabilities.self_conditioning:
            return conditions, key
        noise_key, coin_key, key = random.split(key, 3)
        with backend.no_gradient():
            logits = self.logits(z_t, t, conditions, seed=noise_key)
            shown = random.uniform((ops.shape(z_t)[0], 1, 1), coin_key) < 0.5
            first = ops.where(shown, ops.softmax(logits, axis=-1), 0.0)
        return conditions._replace(prediction=ops.stop_gradient(first)), key
