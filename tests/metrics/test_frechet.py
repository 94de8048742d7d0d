import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dmmd.metrics import FeatureStatistics, frechet_distance

few = settings(max_examples=20, deadline=None, derandomize=True)


def features(seed, n=40, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@given(seed=st.integers(0, 1000))
@few
def test_against_the_matrix_square_root(seed):
    first, second = features(seed), features(seed + 5000, n=30)
    c1, c2 = np.cov(first.T), np.cov(second.T)
    shift = first.mean(0) - second.mean(0)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    expected = shift @ shift + np.trace(c1 + c2 - 2 * root)
    actual = frechet_distance(FeatureStatistics(first), FeatureStatistics(second))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_one_dimension_by_hand():
    first, second = np.array([[0.0], [2.0]]), np.array([[10.0], [16.0]])  # variances 2 and 18
    actual = frechet_distance(FeatureStatistics(first), FeatureStatistics(second))
    np.testing.assert_allclose(actual, 12.0**2 + (18**0.5 - 2**0.5) ** 2)


def test_zero_for_equal_statistics_and_symmetric():
    first, second = FeatureStatistics(features(1)), FeatureStatistics(features(2))
    np.testing.assert_allclose(frechet_distance(first, first), 0.0, atol=1e-8)
    forward, backward = frechet_distance(first, second), frechet_distance(second, first)
    assert forward > 0
    np.testing.assert_allclose(forward, backward, rtol=1e-9)


def test_fewer_samples_than_features():
    first, second = FeatureStatistics(features(1, n=4, d=10)), FeatureStatistics(features(2, n=4, d=10))
    assert np.isfinite(frechet_distance(first, second)) and frechet_distance(first, second) > 0


@given(cuts=st.lists(st.integers(0, 40), max_size=4))
@few
def test_batches_are_one_batch(cuts):
    data = features(3)
    whole, parts = FeatureStatistics(data), FeatureStatistics()
    for part in np.split(data, sorted(cuts)):
        parts.update(part)
    assert parts.count == whole.count == 40
    np.testing.assert_allclose(parts.mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.cov(data.T), rtol=1e-9)


def test_float32_features_are_summed_in_float64():
    data = (features(4, n=2000) + 1000).astype("float32")
    statistics = FeatureStatistics(data)
    np.testing.assert_allclose(statistics.covariance, np.cov(np.float64(data).T), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_must_be_finite(bad):
    data = features(1)
    data[3, 2] = bad
    with pytest.raises(ValueError, match="finite"):
        FeatureStatistics(data)


@pytest.mark.parametrize("shape", [(5,), (5, 2, 2), ()])
def test_features_must_be_a_matrix(shape):
    with pytest.raises(ValueError, match="`features` must have 2 dimensions"):
        FeatureStatistics().update(np.zeros(shape))


def test_a_covariance_needs_two_samples():
    with pytest.raises(ValueError, match="at least 2"):
        _ = FeatureStatistics(features(1, n=1)).covariance
