"""Small random distributions and a small network: distillations that can be checked exactly."""

import keras
import numpy as np
from keras import layers, ops

import keras_dmmd as kd


def random_modes(seed, length=5, vocabulary_size=3, modes=8):
    """`(support, probabilities)`: distinct random sequences of random mass."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(vocabulary_size**length, modes, replace=False)
    support = np.stack(np.unravel_index(codes, (vocabulary_size,) * length), axis=-1)
    return support.astype("int32"), rng.dirichlet(np.full(modes, 3.0))


def equal_coins(length=2):
    """Coins that all show the same side: the least that a factorised step cannot do."""
    support = np.stack([np.zeros(length), np.ones(length)]).astype("int32")
    return support, np.array([0.5, 0.5])


def samples(support, probabilities, n, seed):
    rng = np.random.default_rng(seed)
    return support[rng.choice(len(support), n, p=probabilities)]


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class ToyDenoiser(layers.Layer):
    """A multilayer perceptron over all positions at once, with the library's noise input."""

    def __init__(self, vocabulary_size, num_states, length, width=128, noise=None, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size, self.num_states = vocabulary_size, num_states
        self.length, self.width = length, width
        self.noise = kd.models.noise.get(noise, 16, None, self.dtype_policy)
        self.embed = layers.Embedding(num_states, 16)
        self.embed.build(None)
        if self.noise is not None and not self.noise.built:
            self.noise.build(None)
        self.mix = layers.Dense(width, activation="gelu")
        self.mix.build((None, length * 16 + 2))
        self.hidden = [layers.Dense(width, activation="gelu") for _ in range(2)]
        self.head = layers.Dense(length * vocabulary_size)
        for layer in (*self.hidden, self.head):
            layer.build((None, width))
        self.built = True

    def sample_noise(self, batch_size, length, seed):
        return None if self.noise is None else self.noise.sample(batch_size, length, seed)

    def call(self, z_t, t, noise=None):
        batch = ops.shape(z_t)[0]
        h = self.embed(z_t)
        if noise is not None:
            h = h + self.noise(noise)
        time = ops.stack([t, ops.sqrt(t)], axis=-1)
        h = self.mix(ops.concatenate([ops.reshape(h, (batch, self.length * 16)), time], axis=-1))
        for layer in self.hidden:
            h = h + layer(h)
        return ops.reshape(self.head(h), (batch, self.length, self.vocabulary_size))

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_states": self.num_states,
            "length": self.length,
            "width": self.width,
            "noise": None if self.noise is None else keras.saving.serialize_keras_object(self.noise),
        }
