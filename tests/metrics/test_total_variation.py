import numpy as np
import pytest

from keras_dmmd.metrics import total_variation

SUPPORT = np.array([[0, 1], [1, 0], [2, 2]])
PROBABILITIES = np.array([0.5, 0.25, 0.25])


def test_zero_for_the_distribution_itself():
    samples = SUPPORT[[0, 0, 1, 2]]
    assert total_variation(samples, SUPPORT, PROBABILITIES) == 0.0


def test_one_for_samples_outside_the_support():
    assert total_variation([[0, 0], [1, 1]], SUPPORT, PROBABILITIES) == 1.0


def test_half_the_l1_distance():
    samples = SUPPORT[[0, 1, 1, 1]]  # histogram 0.25, 0.75, 0
    np.testing.assert_allclose(total_variation(samples, SUPPORT, PROBABILITIES), 0.5)


def test_samples_outside_count_in_full():
    samples = np.concatenate([SUPPORT[[0, 0, 1]], [[0, 0]]])  # histogram 0.5, 0.25, 0, outside 0.25
    np.testing.assert_allclose(total_variation(samples, SUPPORT, PROBABILITIES), 0.25)


def test_against_the_table_over_every_sequence():
    rng = np.random.default_rng(0)
    samples = rng.integers(3, size=(500, 2))
    table = np.zeros((3, 3))
    table[tuple(SUPPORT.T)] = PROBABILITIES
    histogram = np.zeros((3, 3))
    np.add.at(histogram, tuple(samples.T), 1 / 500)
    expected = 0.5 * np.abs(histogram - table).sum()
    np.testing.assert_allclose(total_variation(samples, SUPPORT, PROBABILITIES), expected)


def test_dtypes_do_not_matter():
    samples = SUPPORT[[0, 0, 1, 2]].astype("uint8")
    assert total_variation(samples, SUPPORT.astype("int64"), PROBABILITIES) == 0.0


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        total_variation(np.zeros((0, 2), int), SUPPORT, PROBABILITIES)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="same length"):
        total_variation(np.zeros((4, 3), int), SUPPORT, PROBABILITIES)
