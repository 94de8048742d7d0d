"""A small convolutional classifier whose last hidden layer measures images."""

import os

import keras
import numpy as np
from keras import layers, ops

from keras_dmmd import backend, checks, presets
from keras_dmmd.metrics.frechet import FeatureStatistics
from keras_dmmd.training.arguments import check_call


@keras.saving.register_keras_serializable("keras_dmmd")
class ImageFeatures(keras.Model):
    """Features for Fréchet distances: a CNN trained to tell the classes of the set apart.

    Args:
        grid: `(rows, columns)` of an image.
        levels: grey levels (or values of a channel), K.
        channels: 1, or 3 for pixels whose channels are tokens of their own, innermost.
        num_classes: labels of the set.
        dim: number of features.
        width: filters of the first layer.
        description: what the features are, for reports; by default what can be said of any.

    Call arguments:
        tokens: ids `(batch, length)`. Returns features `(batch, dim)`.

    Example:

    ```python
    (train, _), (test, _) = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    features(test).shape  # (297, 32)
    ```
    """

    def __init__(
        self,
        grid,
        levels,
        channels=1,
        num_classes=10,
        dim=64,
        width=32,
        description=None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", "float32")  # what is measured is the same under every policy
        super().__init__(**kwargs)
        self.grid = checks.grid("grid", grid)
        self.levels = levels = checks.count("levels", levels, least=2)
        self.channels = checks.count("channels", channels)
        self.num_classes = num_classes = checks.count("num_classes", num_classes)
        self.dim, self.width = dim, width = checks.count("dim", dim), checks.count("width", width)
        self.description = (
            f"the {dim} features of a CNN that tells {num_classes} labels apart, of ids / {levels - 1}"
            if description is None
            else checks.text("description", description)
        )
        policy = self.dtype_policy
        options = {"padding": "same", "activation": "relu", "dtype": policy}
        self.body = [
            layers.Conv2D(width, 3, name="convolution_0", **options),
            layers.Conv2D(2 * width, 3, strides=2, name="convolution_1", **options),
            layers.Conv2D(2 * width, 3, strides=2, name="convolution_2", **options),
            layers.Flatten(dtype=policy, name="flatten"),
            layers.Dense(dim, activation="tanh", dtype=policy, name="features"),
        ]
        self.head = layers.Dense(num_classes, dtype=policy, name="head")
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        shape = (None, *self.grid, self.channels)
        for layer in self.body:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.head.build(shape)
        self.built = True

    def call(self, tokens):
        x = ops.reshape(ops.cast(tokens, "float32"), (-1, *self.grid, self.channels))
        x = x / (self.levels - 1)
        for layer in self.body:
            x = layer(x)
        return x

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dim)

    def train_classifier(
        self, tokens, labels, validation_data=None, epochs=30, batch_size=64, verbose="auto"
    ):
        """Train it as a classifier of `(n, length)` ids by `(n,)` labels; returns the `History`."""
        tokens, labels = self._read_pair("tokens", (tokens, labels))
        if validation_data is not None:
            validation_data = self._read_pair("validation_data", validation_data)
        call = {"x": tokens, "epochs": epochs, "batch_size": batch_size, "verbose": verbose}
        check_call(call)
        inputs = keras.Input(np.shape(tokens)[1:], dtype="int32")
        classifier = keras.Model(inputs, self.head(self(inputs)))
        classifier.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        return classifier.fit(
            tokens,
            labels,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            verbose=verbose,
        )

    def extract(self, tokens, batch_size=512):
        """Features `(n, dim)` of ids `(n, length)`, float32 numpy."""
        batch_size = checks.count("batch_size", batch_size)
        tokens = self._read("tokens", tokens)
        return backend.predictor(self, batch_size)(tokens).astype("float32")

    def _read_pair(self, name, pair):
        """Ids `(n, length)` and labels `(n,)`."""
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"`{name}` must be ids and labels. Received: {checks.shown(pair)}")
        tokens = self._read(name, pair[0])
        labels = checks.ids("labels", pair[1], self.num_classes, ndim=1)
        if len(labels) != len(tokens):
            raise ValueError(
                f"`labels` must be one per row of `{name}`. Received: {len(labels)} for {len(tokens)}"
            )
        return tokens, labels

    def _read(self, name, tokens):
        """Ids `(n, length)` of images of this grid."""
        tokens = checks.rows(name, checks.ids(name, tokens, self.levels, ndim=2))
        length = self.grid[0] * self.grid[1] * self.channels
        if tokens.shape[1] != length:
            raise ValueError(
                f"`{name}` must be images of {length} tokens, of grid={self.grid} and "
                f"channels={self.channels}. Received: shape {tokens.shape}"
            )
        return tokens

    def statistics(self, tokens):
        """The `FeatureStatistics` of ids `(n, length)`."""
        return FeatureStatistics(self.extract(tokens))

    def save_to_preset(self, folder, card=None):
        """`keras_dmmd.presets.save_to_preset` of these features."""
        presets.save_to_preset(self, folder, card=card)

    @classmethod
    def from_preset(cls, preset):
        """From a folder, or by the name of one that ships, such as `"digits_features"`.

        Raises:
            ValueError: it is another kind of model.
        """
        features = presets.from_preset(preset)
        if not isinstance(features, cls):
            kind = type(features).__name__
            raise ValueError(f"The preset {os.fspath(preset)!r} is a {kind}, no image features.")
        return features

    def get_config(self):
        return {
            "name": self.name,
            "grid": self.grid,
            "levels": self.levels,
            "channels": self.channels,
            "num_classes": self.num_classes,
            "dim": self.dim,
            "width": self.width,
            "description": self.description,
        }
