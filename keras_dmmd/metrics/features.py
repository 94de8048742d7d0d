"""A small convolutional classifier whose last hidden layer measures images."""

import json
import os

import keras
import numpy as np
from keras import layers

from keras_dmmd.metrics.frechet import FeatureStatistics
from keras_dmmd.presets import FOLDER


class ImageFeatures:
    """Features for Fréchet distances: a CNN trained to tell the classes of the set apart.

    Args:
        grid: `(rows, columns)` of an image.
        levels: grey levels (or values a channel), K.
        channels: 1, or 3 for pixels whose channels are tokens of their own, innermost.
        num_classes: labels of the set.
        dim: features.
        width: filters of the first layer.
    """

    def __init__(self, grid, levels, channels=1, num_classes=10, dim=64, width=32):
        self.config = {
            "grid": tuple(grid),
            "levels": levels,
            "channels": channels,
            "num_classes": num_classes,
            "dim": dim,
            "width": width,
        }
        inputs = keras.Input((*grid, channels), dtype="float32")
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(inputs)
        x = layers.Conv2D(2 * width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Conv2D(2 * width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Flatten()(x)
        features = layers.Dense(dim, activation="tanh", name="features")(x)
        logits = layers.Dense(num_classes)(features)
        self.classifier = keras.Model(inputs, logits)
        self.extractor = keras.Model(inputs, features)

    def _images(self, tokens):
        shape = (len(tokens), *self.config["grid"], self.config["channels"])
        return np.asarray(tokens, "float32").reshape(shape) / (self.config["levels"] - 1)

    def fit(self, tokens, labels, validation_data=None, epochs=30, batch_size=64, verbose="auto"):
        """Train the classifier on `(n, length)` ids and `(n,)` labels; returns the `History`."""
        self.classifier.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        if validation_data is not None:
            validation_data = (self._images(validation_data[0]), validation_data[1])
        return self.classifier.fit(
            self._images(tokens),
            labels,
            epochs=epochs,
            batch_size=batch_size,
            validation_data=validation_data,
            verbose=verbose,
        )

    def __call__(self, tokens, batch_size=512):
        """Features `(n, dim)` of ids `(n, length)`, float32 numpy."""
        return self.extractor.predict(self._images(tokens), batch_size=batch_size, verbose=0)

    def statistics(self, tokens):
        """The `FeatureStatistics` of ids `(n, length)`."""
        return FeatureStatistics(self(tokens))

    def save(self, folder, card=None):
        """Write `features.json`, `weights.npz` (half precision) and `card.json`."""
        os.makedirs(folder, exist_ok=True)
        weights = [w.astype("float16") for w in self.classifier.get_weights()]
        np.savez_compressed(os.path.join(folder, "weights.npz"), *weights)
        for name, content in (("features.json", self.config), ("card.json", card or {})):
            with open(os.path.join(folder, name), "w") as file:
                json.dump(content, file, indent=1)
                file.write("\n")

    @classmethod
    def load(cls, preset):
        """Load from a folder, or by the name of one that ships, such as `"digits_features"`."""
        folder = preset if os.path.isdir(preset) else os.path.join(FOLDER, preset)
        if not os.path.exists(os.path.join(folder, "features.json")):
            raise ValueError(f"There are no image features at {folder!r}.")
        with open(os.path.join(folder, "features.json")) as file:
            features = cls(**json.load(file))
        with np.load(os.path.join(folder, "weights.npz")) as file:
            weights = [file[f"arr_{i}"].astype("float32") for i in range(len(file.files))]
        features.classifier.set_weights(weights)
        config = features.config
        features.name = (
            f"{os.path.basename(os.path.normpath(preset))}: the {config['dim']} of a CNN that tells "
            f"{config['num_classes']} labels apart, of ids / {config['levels'] - 1}"
        )
        return features
