import unittest.mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dmmd.sampling import truncation

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 1000)


def random_log_probs(seed, shape=(3, 6)):
    logits = np.random.default_rng(seed).normal(size=shape) * 2
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype("float32")


def sharpen(log_probs, *args, **kwargs):
    return ops.convert_to_numpy(truncation.sharpen(ops.convert_to_tensor(log_probs), *args, **kwargs))


def oracle_nucleus(log_probs, top_p):
    """The smallest set of likeliest tokens whose mass reaches `top_p`, row by row."""
    probs = np.exp(np.float64(log_probs))
    inside = np.zeros(probs.shape, bool)
    for row in np.ndindex(probs.shape[:-1]):
        mass = 0.0
        for k in np.argsort(-probs[row]):
            inside[row][k] = True
            mass += probs[row][k]
            if mass >= top_p:
                break
    return inside


@given(seed=seeds, temperature=st.floats(0.2, 5.0))
@few
def test_temperature(seed, temperature):
    log_probs = random_log_probs(seed)
    expected = np.exp(np.float64(log_probs)) ** (1 / temperature)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(np.exp(sharpen(log_probs, temperature)), expected, atol=1e-5)


@given(seed=seeds, top_p=st.floats(0.05, 0.95))
@few
def test_nucleus(seed, top_p):
    log_probs = random_log_probs(seed)
    for many in (2, 2048):  # by a search, and by sorting
        with unittest.mock.patch.object(truncation, "MANY", many):
            nucleus = truncation.nucleus(ops.convert_to_tensor(log_probs), top_p)
        np.testing.assert_array_equal(ops.convert_to_numpy(nucleus), oracle_nucleus(log_probs, top_p))


def test_nucleus_of_many_words():
    log_probs = random_log_probs(0, (2, 5000))
    log_probs[0, ::3] = -np.inf
    log_probs[1, 7] = 9.0  # certain, all but
    log_probs -= np.log(np.exp(np.float64(log_probs)).sum(-1, keepdims=True)).astype("float32")
    nucleus = truncation.nucleus(ops.convert_to_tensor(log_probs), 0.7)
    np.testing.assert_array_equal(ops.convert_to_numpy(nucleus), oracle_nucleus(log_probs, 0.7))
    assert ops.convert_to_numpy(nucleus).sum(-1)[1] == 1


@given(seed=seeds, top_p=st.floats(0.05, 0.95), penalty=st.sampled_from([0.5, 2.0, float("inf")]))
@few
def test_penalty_outside_the_nucleus(seed, top_p, penalty):
    log_probs = random_log_probs(seed)
    inside = oracle_nucleus(log_probs, top_p)
    expected = np.where(inside, log_probs, log_probs - penalty)
    np.testing.assert_allclose(sharpen(log_probs, 1.0, top_p, penalty), expected, atol=1e-5)


def test_the_nucleus_is_that_of_the_sharpened_distribution():
    log_probs = np.log(np.array([[0.5, 0.3, 0.2]], "float32"))
    # At temperature 0.5 the first token has 0.66 of the mass, at temperature 1 it has 0.5.
    assert np.isfinite(sharpen(log_probs, 0.5, 0.6)).sum() == 1
    assert np.isfinite(sharpen(log_probs, 1.0, 0.6)).sum() == 2


def test_ties_at_the_border_are_all_kept():
    log_probs = np.log(np.array([[0.4, 0.2, 0.2, 0.2]], "float32"))
    assert np.isfinite(sharpen(log_probs, 1.0, 0.5)).all()


def test_the_likeliest_token_always_stays():
    log_probs = random_log_probs(1)
    kept = np.isfinite(sharpen(log_probs, 1.0, 1e-6))
    np.testing.assert_array_equal(kept, log_probs == log_probs.max(-1, keepdims=True))


def test_impossible_tokens_stay_impossible():
    log_probs = np.array([[0.0, -np.inf, -np.inf]], "float32")
    for arguments in [(0.5, None), (2.0, 0.9), (1.0, 1.0), (1.0, 0.9, 2.0)]:
        np.testing.assert_allclose(np.exp(sharpen(log_probs, *arguments)), [[1.0, 0.0, 0.0]])


def test_a_full_nucleus_keeps_the_rarest_token():
    log_probs = np.log(np.array([[1.0 - 2e-9, 1e-9, 1e-9]], "float32"))
    np.testing.assert_allclose(sharpen(log_probs, 1.0, 1.0), log_probs, rtol=1e-5)


@pytest.mark.parametrize("temperature", [-1e-9, -1.0, float("nan")])
def test_temperature_must_not_be_negative(temperature):
    with pytest.raises(ValueError, match="`temperature`"):
        truncation.check(temperature, None)


def test_temperature_0_is_greedy():
    log_probs = np.log(np.array([[0.4, 0.35, 0.25], [0.3, 0.4, 0.3], [0.25, 0.375, 0.375]], "float32"))
    expected = [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5]]  # what is equally likely shares the mass
    np.testing.assert_allclose(np.exp(sharpen(log_probs, 0.0)), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"`temperature` must be a number in \(0, inf\)"):
        truncation.check(0.0, None, greedy=False)


@pytest.mark.parametrize("top_p", [0.0, -0.5, 1.5, float("nan")])
def test_top_p_must_be_a_probability(top_p):
    with pytest.raises(ValueError, match="`top_p`"):
        truncation.check(1.0, top_p)


def test_arguments_in_range_pass():
    truncation.check(0.5, None)
    truncation.check(2.0, 1.0)
