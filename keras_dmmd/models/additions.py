"""What a pretrained network is told beside tokens: vectors added to their embeddings, 0 at first."""

import keras
from keras import layers, ops

from keras_dmmd.models import noise as noise_layers
from keras_dmmd.models.transformer import KnownEmbedding, TimeEmbedding


class Additions:
    """Mixin of denoisers around a pretrained network: time, given tokens, a student's random input.

    Attributes:
        cond_dim: features of the time vector, or `None` for a network that is not told the time.
        prompts: whether it is told which tokens are given.
        noise: its random input, a `keras_dmmd.models.NoiseConditioning`, or `None`.
    """

    def make_additions(self, hidden_dim, cond_dim, prompts, noise):
        """Make the layers, for embeddings of `hidden_dim` features."""
        policy = self.dtype_policy
        self.cond_dim, self.prompts = cond_dim, bool(prompts)
        self.noise = noise_layers.get(noise, hidden_dim, None, policy)
        if self.prompts:
            self.known_embedding = KnownEmbedding(dtype=policy, name="known_embedding")
        if cond_dim:
            self.time_embedding = TimeEmbedding(cond_dim, dtype=policy, name="time_embedding")
            self.time_projection = layers.Dense(
                hidden_dim, kernel_initializer="zeros", dtype=policy, name="time_projection"
            )

    def build_additions(self, hidden_dim):
        """Build the layers."""
        if self.prompts:
            self.known_embedding.build((None, None, hidden_dim))
        if self.cond_dim:
            self.time_embedding.build((None,))
            self.time_projection.build((None, self.cond_dim))
        if self.noise is not None and not self.noise.built:
            self.noise.build((None, None, hidden_dim))

    def additions_config(self):
        """Their part of `get_config`."""
        noise = None if self.noise is None else keras.saving.serialize_keras_object(self.noise)
        return {"cond_dim": self.cond_dim, "prompts": self.prompts, "noise": noise}

    def sample_noise(self, batch_size, length, seed):
        """The random input of one call, or `None` for a denoiser without one."""
        return None if self.noise is None else self.noise.sample(batch_size, length, seed)

    def add(self, x, t, known=None, noise=None):
        """Embeddings `(batch, length, hidden_dim)` with all of it; arguments as of a call.

        Raises:
            ValueError: `known` is given to a denoiser without `prompts`.
        """
        if known is not None:
            if not self.prompts:
                raise ValueError("This denoiser takes no `known`: it was made without `prompts=True`.")
            x = self.known_embedding(x, known)
        if self.cond_dim:
            x = x + ops.cast(ops.expand_dims(self.time_projection(self.time_embedding(t)), 1), x.dtype)
        if self.noise is not None and noise is not None:
            x = x + ops.cast(self.noise(noise), x.dtype)
        return x
