import numpy as np
import pytest

from keras_dmmd import metrics
from keras_dmmd.metrics.distances import kernel_distance

pytestmark = pytest.mark.plain


def features(tokens):
    """Two features of ids: their mean and spread, as floats."""
    return np.stack([tokens.mean(axis=1), tokens.std(axis=1)], axis=1)


def rows(seed, n, high=6):
    return np.random.default_rng(seed).integers(0, high, (n, 4))


def test_frechet_distance_is_that_of_all_batches():
    data, samples = rows(0, 50), rows(1, 40, high=4)
    metric = metrics.FrechetDistance(features, data)
    assert metric.feature_name == "features"
    for part in np.split(samples, [7, 20]):
        metric.update_state(part)
    one, two = (metrics.FeatureStatistics(features(x)) for x in (samples, data))
    expected = metrics.frechet_distance(one, two)
    assert metric.result() == {"frechet_distance": pytest.approx(expected, rel=1e-12)}
    metric.reset_state()
    with pytest.raises(ValueError, match="no samples"):
        metric.result()


def test_few_samples_are_warned_of():
    metric = metrics.FrechetDistance(features, rows(0, 50))
    metric.update_state(rows(1, 2))
    with pytest.warns(UserWarning, match="2 samples are too few for a covariance of 2 features"):
        metric.result()


def test_features_may_leave_all_samples_out():
    """As those of molecules do with strings that are none: a sweep goes on."""
    metric = metrics.FrechetDistance(lambda ids: features(ids[ids[:, 0] < 6]), rows(0, 50))
    for left in (0, 1):
        metric.reset_state()
        metric.update_state(np.concatenate([rows(1, left), 6 + rows(1, 9)]))
        with pytest.warns(UserWarning, match=f"{left} samples are too few"):
            assert np.isnan(metric.result()["frechet_distance"])


def test_kernel_distance_term_by_term():
    x, y = features(rows(0, 5)), features(rows(1, 7))

    def k(a, b):
        return ((a[0] * b[0] + a[1] * b[1]) / 2 + 1) ** 3

    expected = (
        sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
        + sum(k(y[i], y[j]) for i in range(7) for j in range(7) if i != j) / 42
        - 2 * sum(k(a, b) for a in x for b in y) / 35
    )
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_has_no_bias():
    """About 0 between samples of one kind, however few; not of two kinds."""
    metric = metrics.KernelDistance(features, rows(0, 4000), block_size=20)
    metric.update_state(rows(1, 4000))
    same = metric.result()
    assert abs(same["kernel_distance"]) < 4 * same["kernel_distance_error"]
    metric.reset_state()
    metric.update_state(rows(2, 4000, high=5))
    other = metric.result()
    assert other["kernel_distance"] > 5 * other["kernel_distance_error"]
    metric.reset_state()
    metric.update_state(rows(2, 19))
    with pytest.raises(ValueError, match="block of 20 .* 19 and 4000"):
        metric.result()


def test_the_error_of_kernel_distance_is_that_of_few_data_too():
    """Over repetitions, with a fifth as many data as samples."""
    found = []
    for seed in range(150):
        metric = metrics.KernelDistance(features, rows(2 * seed, 40), block_size=10)
        metric.update_state(rows(2 * seed + 1, 200))
        found.append(list(metric.result().values()))
    values, errors = np.array(found).T
    assert values.std() < 1.2 * (errors**2).mean() ** 0.5
    one = metrics.KernelDistance(features, rows(0, 19), block_size=10)
    one.update_state(rows(1, 200))
    assert np.isnan(one.result()["kernel_distance_error"])


def test_mauve():
    pytest.importorskip("mauve")
    metric = metrics.Mauve(features, rows(0, 200), num_buckets=8)
    metric.update_state(rows(1, 200))
    near = metric.result()["mauve"]
    metric.reset_state()
    metric.update_state(rows(2, 200, high=2))
    assert 0 < metric.result()["mauve"] < near <= 1
    assert near > 0.8


def test_bad_features():
    with pytest.raises(ValueError, match=r"`features` must be finite"):
        metrics.FrechetDistance(lambda x: np.full((len(x), 1), np.nan), rows(0, 50))
    with pytest.raises(ValueError, match=r"2 dimensions.*\(50,\)"):
        metrics.FrechetDistance(lambda x: x.mean(axis=1), rows(0, 50))
    with pytest.raises(ValueError, match="at least 2"):
        metrics.FrechetDistance(features, rows(0, 1))
