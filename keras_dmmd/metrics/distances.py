"""Distances between the features of samples and those of data."""

import warnings

import keras
import numpy as np

from keras_dmmd import backend, checks
from keras_dmmd.fingerprints import array_hash
from keras_dmmd.metrics.frechet import FeatureStatistics, frechet_distance
from keras_dmmd.metrics.statistics import mean_and_error
from keras_dmmd.metrics.streaming import Note, StreamingMetric
from keras_dmmd.optional import package


class FeatureMetric(StreamingMetric):
    """A comparison of samples with data by features of both.

    Args:
        features: ids `(n, length)` to float features `(n, d)`: a function, or a Keras model such as
            `ImageFeatures`. Its `description`, or else its name, stands in reports.
        data: real ids `(n, length)`.
        name: of the metric.
    """

    def __init__(self, features, data, name):
        super().__init__(name=name)
        self.feature_name = describe_features(checks.function("features", features))
        if isinstance(features, keras.Model):  # batch by batch, compiled
            features = backend.predictor(features, batch_size=512)
        self.features = features
        self.data_features = self._extract(checks.rows("data", data, at_least=2))
        self.reset_state()

    def _extract(self, tokens):
        return checks.finite("features", checks.called("features", self.features, tokens), ndim=2)

    def update_state(self, samples, data=None):
        self._parts.append(self._extract(checks.rows("samples", samples)))

    @property
    def sample_features(self):
        if not self._parts:
            raise ValueError(f"{self.name} has seen no samples: call `update_state` first.")
        return np.concatenate(self._parts)

    def reset_state(self):
        self._parts = []

    def fingerprint(self):
        return [*super().fingerprint(), self.feature_name, array_hash(self.data_features)]


def describe_features(features):
    """What features are, in words: their `description`, or the name of a function or a class."""
    name = getattr(features, "__name__", type(features).__name__)
    return getattr(features, "description", None) or name


class FrechetDistance(FeatureMetric):
    """`frechet_distance` of the features of samples and data. Fewer samples read higher.

    Where features leave all samples out, as those of molecules do with what is none, it is NaN.

    Example:

    ```python
    (real, _), _ = kd.datasets.load_digits()
    metric = kd.metrics.FrechetDistance(kd.ImageFeatures.from_preset("digits_features"), real)
    metric.update_state(kd.from_preset("digits_masked_student").generate(64, steps=4, seed=0))
    metric.result()  # {"frechet_distance": ...}
    ```
    """

    note = Note("distance to real data in the space of features; lower is better", scale="log")

    def __init__(self, features, data, name="frechet_distance"):
        super().__init__(features, data, name)
        self._reference = FeatureStatistics(self.data_features)
        self._warn_of_few("data", self.data_features)

    def result(self):
        features = self.sample_features
        self._warn_of_few("samples", features)
        if len(features) < 2:  # of a model whose samples the features leave out
            return {self.name: float("nan")}
        return {self.name: frechet_distance(FeatureStatistics(features), self._reference)}

    def _warn_of_few(self, name, features):
        if len(features) <= features.shape[1]:
            warnings.warn(
                f"{self.name}: {len(features)} {name} are too few for a covariance of "
                f"{features.shape[1]} features; the distance reads high.",
                stacklevel=3,
            )


class KernelDistance(FeatureMetric):
    """The squared maximum mean discrepancy of features, without bias (KID, arXiv 1801.01401).

    With the kernel `(x·y / d + 1)³`; the mean over disjoint blocks of samples, each beside a block of
    the data. Its standard error is that over the blocks whose data are disjoint too: where samples are
    more than data, these stand beside several. Unlike the Fréchet distance it does not read higher with
    fewer samples, and may be negative.

    Args:
        features, data, name: see `FeatureMetric`.
        block_size: samples of a block; those that fill none are left out.

    Example:

    ```python
    (real, _), _ = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    metric = kd.metrics.KernelDistance(features, real, block_size=50)
    metric.update_state(kd.from_preset("digits_masked_student").generate(100, steps=4, seed=0))
    metric.result()  # {"kernel_distance": ..., "kernel_distance_error": ...}
    ```
    """

    note = Note("distance to real data without bias from the number of samples; lower is better")

    def __init__(self, features, data, block_size=250, name="kernel_distance"):
        self.block_size = checks.count("block_size", block_size, least=2)
        super().__init__(features, data, name)

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}

    def check(self, samples, length, has_data):
        found = samples, len(self.data_features)
        if min(found) < self.block_size:
            raise ValueError(
                f"{self.name} needs a block of {self.block_size} samples and of data at least. "
                "Received: {} and {}".format(*found)
            )

    def result(self):
        x, y, size = self.sample_features, self.data_features, self.block_size
        self.check(len(x), None, True)
        order = np.random.default_rng(0).permutation(len(y))
        blocks = len(x) // size
        order = np.resize(order, blocks * size)
        values = [
            kernel_distance(x[i : i + size], y[order[i : i + size]])
            for i in range(0, blocks * size, size)
        ]
        _, error = mean_and_error(values[: len(y) // size])
        return {self.name: float(np.mean(values)), f"{self.name}_error": error}


def kernel_distance(x, y):
    """The unbiased squared discrepancy of two sets of features, `(n, d)` and `(m, d)`."""

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    def within(a):
        table = kernel(a, a)
        return (table.sum() - np.trace(table)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2.0 * kernel(x, y).mean())


class Mauve(FeatureMetric):
    """MAUVE of the features of samples and data, by the package `mauve-text` (arXiv 2102.01454).

    In (0, 1], higher is better. It quantises both sets of features together and depends on their
    numbers: compare equal numbers only.

    Args:
        features, data, name: see `FeatureMetric`.
        **kwargs: of `mauve.compute_mauve`, such as `num_buckets`.

    Example:

    ```python
    (real, _), _ = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    metric = kd.metrics.Mauve(features, real)  # after pip install mauve-text
    metric.update_state(kd.from_preset("digits_masked_student").generate(1000, steps=4, seed=0))
    metric.result()  # {"mauve": ...}
    ```
    """

    note = Note("overlap with real data, at most 1; higher is better")

    def __init__(self, features, data, name="mauve", **kwargs):
        self._mauve = package("mauve", "Mauve", "mauve-text")
        self._kwargs = kwargs
        super().__init__(features, data, name)

    def fingerprint(self):
        return [*super().fingerprint(), sorted((k, repr(v)) for k, v in self._kwargs.items())]

    def result(self):
        few = min(len(self.sample_features), len(self.data_features))
        if few < 1000:
            warnings.warn(
                f"{self.name}: {few} samples or data are few: its authors use 5,000. It depends on "
                "their number.",
                stacklevel=2,
            )
        found = self._mauve.compute_mauve(
            p_features=self.data_features,
            q_features=self.sample_features,
            verbose=False,
            **self._kwargs,
        )
        return {self.name: float(found.mauve)}
