"""A student's random input.

A masked student starts from a constant, all masks: all that one call can do is to draw each token on
its own. Given noise, different noise can mean different samples, so the tokens of one call can agree.
Each layer here draws its noise, and projects it into the token embeddings through a projection that
starts at zero: a student that was just copied from its teacher still gives its teacher's logits. Where
that leaves it without a way to break a symmetry, `perturb` lets noise act from the start.
"""

import math

import keras
from keras import layers, ops

from keras_dmmd import checks, random


class NoiseConditioning(layers.Layer):
    """Base class: `sample` draws noise, `call` projects it.

    Args:
        hidden_dim: features of a token embedding.

    Attributes:
        default_scale: how strongly a distiller lets it act before the first round, see `perturb`.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class SignNoise(kd.models.NoiseConditioning):
        '''A random sign at every position.'''

        def build(self, input_shape):
            self.project = keras.layers.Dense(self.hidden_dim, kernel_initializer="zeros")
            self.project.build((None, None, 1))

        def sample(self, batch_size, length, seed):
            return keras.ops.sign(kd.random.normal((batch_size, length, 1), seed))

    denoiser = kd.Denoiser(17, hidden_dim=128, noise=SignNoise(128))
    ```
    """

    default_scale = 0.0

    def __init__(self, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = checks.count("hidden_dim", hidden_dim)

    def sample(self, batch_size, length, seed):
        """Noise for `batch_size` sequences of `length` tokens."""
        raise NotImplementedError

    def call(self, noise):
        """`(batch, length, hidden_dim)`, to be added to the embeddings."""
        return self.project(noise)

    def perturb(self, scale, seed=0):
        """Add normal numbers of this standard deviation to the projection: noise then has an effect.

        From a projection of zeros all noise looks alike, and where a student has to break a symmetry,
        as in drawing a permutation in one call, it finds no way to.
        """
        scale = checks.number("scale", scale)
        if not scale:
            return
        for i, weight in enumerate(self.project.weights):
            key = random.split(seed, len(self.project.weights))[i]
            weight.assign(weight + ops.cast(scale * random.normal(weight.shape, key), weight.dtype))

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


class FeatureNoise(NoiseConditioning):
    """Base class of noise that is numbers, which a matrix projects."""

    def __init__(self, hidden_dim, features, **kwargs):
        super().__init__(hidden_dim, **kwargs)
        self.features = checks.count("features", features)
        self.project = layers.Dense(
            self.hidden_dim,
            use_bias=False,
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="project",
        )

    def build(self, input_shape):
        self.project.build((None, None, self.features))

    def get_config(self):
        return {**super().get_config(), "features": self.features}


@keras.saving.register_keras_serializable("keras_dmmd")
class GaussianNoise(FeatureNoise):
    """Independent Gaussian noise at every position, `(batch, length, features)`.

    Example:

    ```python
    noise = kd.models.GaussianNoise(hidden_dim=128, features=16)
    denoiser = kd.Denoiser(17, grid=(8, 8), hidden_dim=128, noise=noise)
    drawn = noise.sample(batch_size=2, length=64, seed=0)  # (2, 64, 16)
    ```
    """

    def __init__(self, hidden_dim, features=16, **kwargs):
        super().__init__(hidden_dim, features, **kwargs)

    def sample(self, batch_size, length, seed):
        return random.normal((batch_size, length, self.features), seed)


@keras.saving.register_keras_serializable("keras_dmmd")
class PyramidNoise(GaussianNoise):
    """Gaussian noise of an image at several resolutions at once, `(batch, length, features)`.

    The features are shared out over levels: full resolution, half, a quarter, down to one value for
    the whole image. Coarse levels let distant pixels of one call agree; each feature has unit variance.

    Args:
        hidden_dim: features of a token embedding.
        grid: `(rows, columns)`.
        features: noise features per pixel, at least the number of levels.

    Example:

    ```python
    noise = kd.models.PyramidNoise(hidden_dim=128, grid=(8, 8))
    denoiser = kd.Denoiser(17, grid=(8, 8), hidden_dim=128, noise=noise)
    drawn = noise.sample(batch_size=2, length=64, seed=0)  # (2, 64, 16)
    ```
    """

    def __init__(self, hidden_dim, grid, features=16, **kwargs):
        super().__init__(hidden_dim, features, **kwargs)
        self.grid = checks.grid("grid", grid)
        self.levels = 1 + math.ceil(math.log2(max(self.grid)))
        if self.features < self.levels:
            raise ValueError(
                f"A grid of {self.grid} has {self.levels} levels of noise, so `features` must be at "
                f"least {self.levels}. Received: features={features}"
            )

    def sample(self, batch_size, length, seed):
        rows, columns = self.grid
        if length != rows * columns:
            raise ValueError(
                f"PyramidNoise over a grid of {self.grid} makes {rows * columns} tokens. "
                f"Received: length={length}"
            )
        parts = []
        for level, key in enumerate(random.split(seed, self.levels)):
            size = 2**level
            share = self.features // self.levels + (level < self.features % self.levels)
            coarse = (batch_size, math.ceil(rows / size), math.ceil(columns / size), share)
            noise = random.normal(coarse, key)
            noise = ops.repeat(ops.repeat(noise, size, axis=1), size, axis=2)
            parts.append(noise[:, :rows, :columns])
        return ops.reshape(ops.concatenate(parts, axis=-1), (batch_size, length, self.features))

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


@keras.saving.register_keras_serializable("keras_dmmd")
class TokenNoise(NoiseConditioning):
    """One random symbol at every position, `(batch, length)`: as a uniform student starts.

    Args:
        hidden_dim: features of a token embedding.
        symbols: how many there are. From `symbols ** length` combinations a student makes its samples:
            with few it finds each one's sample sooner (benchmarks/puzzles.py), with too few it has no
            room for all samples, or for their frequencies. `noise="token"` is 32 of them for images and
            8 for sequences.

    Example:

    ```python
    noise = kd.models.TokenNoise(hidden_dim=128, symbols=32)
    denoiser = kd.Denoiser(17, grid=(8, 8), hidden_dim=128, noise=noise)
    drawn = noise.sample(batch_size=2, length=64, seed=0)  # (2, 64), ids
    ```
    """

    default_scale = 0.5

    def __init__(self, hidden_dim, symbols=32, **kwargs):
        super().__init__(hidden_dim, **kwargs)
        self.symbols = checks.count("symbols", symbols)
        self.project = layers.Embedding(
            self.symbols,
            self.hidden_dim,
            embeddings_initializer="zeros",
            dtype=self.dtype_policy,
            name="project",
        )

    def build(self, input_shape):
        self.project.build((None, None))

    def sample(self, batch_size, length, seed):
        return random.randint((batch_size, length), self.symbols, seed)

    def get_config(self):
        return {**super().get_config(), "symbols": self.symbols}


@keras.saving.register_keras_serializable("keras_dmmd")
class ScalarNoise(FeatureNoise):
    """One uniform number λ for a whole sequence, `(batch, 1, 1)`: which part of a mixture it is of.

    It enters by `features` waves, `√2 cos(π j λ)` for j from 1, each of unit variance.

    Example:

    ```python
    noise = kd.models.ScalarNoise(hidden_dim=128)
    denoiser = kd.Denoiser(17, grid=(8, 8), hidden_dim=128, noise=noise)
    drawn = noise.sample(batch_size=2, length=64, seed=0)  # (2, 1, 1)
    ```
    """

    default_scale = 0.2

    def __init__(self, hidden_dim, features=8, **kwargs):
        super().__init__(hidden_dim, features, **kwargs)

    def sample(self, batch_size, length, seed):
        del length
        return random.uniform((batch_size, 1, 1), seed)

    def call(self, noise):
        """`(batch, 1, hidden_dim)`, the same for every token."""
        waves = ops.arange(1, self.features + 1, dtype="float32")
        noise = ops.cast(noise, "float32")
        return self.project(math.sqrt(2.0) * ops.cos(math.pi * waves * noise))


def get(noise, hidden_dim, grid, dtype):
    """A noise layer from `None`, the name of one of those above, or a `NoiseConditioning`."""
    if noise is None or isinstance(noise, NoiseConditioning):
        return noise
    if isinstance(noise, dict) and "class_name" in noise:
        # Without its build config: built here it would miss its place in the denoiser's paths.
        config = {name: value for name, value in noise.items() if name != "build_config"}
        return checks.deserialized("noise", config)
    name = noise if isinstance(noise, str) else None
    if name == "gaussian":
        return GaussianNoise(hidden_dim, dtype=dtype, name="noise")
    if name == "token":
        return TokenNoise(hidden_dim, 8 if grid is None else 32, dtype=dtype, name="noise")
    if name == "scalar":
        return ScalarNoise(hidden_dim, dtype=dtype, name="noise")
    if name == "pyramid" and grid is not None:
        return PyramidNoise(hidden_dim, grid, dtype=dtype, name="noise")
    if name == "pyramid":
        raise ValueError('`noise="pyramid"` is for images: give the denoiser `grid=(rows, columns)`.')
    raise ValueError(
        "`noise` must be None, 'gaussian', 'pyramid', 'token', 'scalar' or a "
        f"keras_dmmd.models.NoiseConditioning. Received: noise={checks.shown(noise)}"
    )
