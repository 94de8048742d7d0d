"""Fréchet distance between feature distributions."""

import numpy as np

from keras_dmmd import checks
from keras_dmmd.metrics.statistics import mean_and_error
from keras_dmmd.training.diffusion_model import DiffusionModel


class FeatureStatistics:
    """Mean and covariance of features, in float64, gathered batch by batch.

    Args:
        features: optional first batch, `(n, d)`.

    Example:

    ```python
    statistics = kd.metrics.FeatureStatistics()
    for batch in np.random.default_rng(0).normal(size=(10, 32, 4)):
        statistics.update(batch)
    statistics.mean.shape, statistics.covariance.shape  # (4,), (4, 4)
    ```
    """

    def __init__(self, features=None):
        self.count, self._sum, self._outer = 0, 0.0, 0.0
        if features is not None:
            self.update(features)

    def update(self, features):
        """Add a batch `(n, d)`; NaN or infinite features are refused."""
        features = checks.finite("features", features, ndim=2)
        if self.count and features.shape[1:] != self._sum.shape:
            raise ValueError(
                f"`features` must have shape (n, {len(self._sum)}), as those before. "
                f"Received: shape {features.shape}"
            )
        self.count += len(features)
        self._sum = self._sum + features.sum(axis=0)
        self._outer = self._outer + features.T @ features
        return self

    @property
    def mean(self):
        if not self.count:
            raise ValueError("There are no features yet: call `update` first.")
        return self._sum / self.count

    @property
    def covariance(self):
        """Unbiased; needs two samples."""
        if self.count < 2:
            raise ValueError(f"A covariance needs at least 2 samples. Received: {self.count}")
        centre = self.count * np.outer(self.mean, self.mean)
        return (self._outer - centre) / (self.count - 1)


def frechet_distance(first, second):
    """`|μ1 - μ2|² + tr(C1 + C2 - 2 (C1 C2)^½)` of two `FeatureStatistics`.

    Heusel et al., arXiv 1706.08500, eq. 6. The trace of the root is the sum of the square roots of
    the eigenvalues of `C1^½ C2 C1^½`, which is symmetric, so no complex square root is needed.

    Example:

    ```python
    features = kd.ImageFeatures.from_preset("digits_features")
    (train, _), (test, _) = kd.datasets.load_digits()
    kd.metrics.frechet_distance(features.statistics(train), features.statistics(test))
    ```
    """
    _check_statistics("`first`", first)
    _check_statistics("`second`", second)
    if np.shape(first.mean) != np.shape(second.mean):
        raise ValueError(
            "`first` and `second` must have the same features. Received: "
            f"{len(first.mean)} and {len(second.mean)} of them"
        )
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ second.covariance @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    shift = first.mean - second.mean
    trace = np.trace(first.covariance) + np.trace(second.covariance)
    return float(shift @ shift + trace - 2.0 * cross)


def frechet_by_steps(model, statistics_of, reference, steps, samples=2000, seeds=(0, 1, 2), **generate):
    """Fréchet distance of a sampler against the number of network calls.

    Args:
        model: a `keras_dmmd.DiffusionModel`.
        statistics_of: ids `(n, length)` to `FeatureStatistics`, such as `ImageFeatures.statistics`.
        reference: the `FeatureStatistics` of real data.
        steps: numbers of network calls to try.
        samples: samples per distance. Fewer samples read higher: compare equal numbers only.
        seeds: one distance each.
        **generate: further arguments of `DiffusionModel.generate`.

    Returns:
        `{steps: (mean, standard error over seeds)}`.

    Example:

    ```python
    (real, _), _ = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    student = kd.from_preset("digits_masked_student")
    measure, reference = features.statistics, features.statistics(real)
    kd.metrics.frechet_by_steps(student, measure, reference, [1, 2], samples=64, seeds=[0, 1])
    ```
    """
    if not isinstance(model, DiffusionModel):
        raise ValueError(f"`model` must be a DiffusionModel. Received: {checks.shown(model)}")
    samples = checks.count("samples", samples, least=2)
    steps = checks.several("steps", steps, checks.count)
    seeds = checks.several("seeds", seeds, checks.integer)
    checks.function("statistics_of", statistics_of)

    def distance(k, seed):
        ids = model.generate(samples, steps=k, seed=seed, **generate)
        found = checks.called("statistics_of", statistics_of, ids)
        _check_statistics("what `statistics_of` returns", found)
        return frechet_distance(found, reference)

    _check_statistics("`reference`", reference)
    return {k: mean_and_error([distance(k, seed) for seed in seeds]) for k in steps}


def _check_statistics(name, value):
    if not isinstance(value, FeatureStatistics):
        raise ValueError(f"{name} must be FeatureStatistics. Received: {checks.shown(value)}")
