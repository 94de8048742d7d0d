"""Corruptions and posteriors against Bayes' rule by enumeration."""

import math

import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import schedules
from tests.oracles import processes as oracle

K = 3
PROCESSES = {
    "masked": kd.MaskedDiffusion(K),
    "uniform": kd.UniformDiffusion(K),
    "uniform-loo": kd.UniformDiffusion(K, prediction="loo"),
}
every_process = pytest.mark.parametrize("name", PROCESSES)
TIMES = [(0.0, 0.3), (0.2, 0.5), (0.35, 0.4), (0.6, 1.0), (0.0, 1.0), (0.5, 0.5)]
every_times = pytest.mark.parametrize("s, t", TIMES)


def kind(name):
    return name.split("-")[0]


def numpy(x):
    return ops.convert_to_numpy(x)


def batch(value, n):
    return np.full(n, value, "float32")


def exact_posterior(name, s, t):
    """`q(z_s | z_t, x)` of the linear schedule, `(K, num_states, num_states)`."""
    return oracle.posterior(kind(name), K, 1.0 - s, 1.0 - t)


def possible_pairs(name, s, t):
    """All `(x, z_t)` with mass, as two columns."""
    pairs = np.argwhere(np.isfinite(exact_posterior(name, s, t)[..., 0]))
    return pairs[:, :1], pairs[:, 1:]


def frequencies(ids, states):
    """Of ids `(n, length)`, `(length, states)`."""
    return np.stack([np.bincount(column, minlength=states) for column in ids.T]) / len(ids)


def assert_frequencies(observed, expected, n):
    """Within 5 standard deviations, and exactly 0 or 1 where expected so."""
    sigma = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(observed - expected) <= 5 * sigma + 1e-7).all()


@every_process
@every_times
def test_posterior_of_ids(name, s, t):
    x, z = possible_pairs(name, s, t)
    probs = PROCESSES[name].posterior(x, z, batch(s, len(x)), batch(t, len(x)))
    exact = exact_posterior(name, s, t)[x, z]
    np.testing.assert_allclose(numpy(probs), exact, atol=2e-6)


@every_process
@every_times
def test_posterior_of_a_prediction(name, s, t):
    """Against `Σ_x p(x | z_t) q(z_s | z_t, x)`, the true posterior of the model's belief."""
    _, z = possible_pairs(name, s, t)
    rng = np.random.default_rng(0)
    loo = rng.dirichlet(np.ones(K), size=z.shape)
    mean = oracle.mean_from_loo(kind(name), K, 1.0 - t, loo, z)
    prediction = loo if name == "uniform-loo" else mean
    exact = np.nan_to_num(exact_posterior(name, s, t))  # pairs without mass have mean 0
    exact = np.einsum("nlk,nlks->nls", mean, np.swapaxes(exact, 0, 1)[z])
    probs = PROCESSES[name].posterior(
        prediction.astype("float32"), z, batch(s, len(z)), batch(t, len(z))
    )
    np.testing.assert_allclose(numpy(probs), exact, atol=2e-6)


@every_process
@pytest.mark.parametrize("schedule", schedules.NAMES)
@pytest.mark.parametrize("s, t", [(0.0, 0.5), (0.0, 1.0), (0.5, 1.0), (0.999, 1.0)])
def test_posterior_rows_are_distributions_under_every_schedule(name, schedule, s, t):
    process = PROCESSES[name].from_config({**PROCESSES[name].get_config(), "schedule": schedule})
    z = np.arange(process.num_states)[None]
    prediction = np.random.default_rng(1).dirichlet(np.ones(K), size=z.shape).astype("float32")
    probs = numpy(process.posterior(prediction, z, batch(s, 1), batch(t, 1)))
    assert (probs >= 0).all()
    np.testing.assert_allclose(probs.sum(-1), 1.0, atol=1e-6)


@every_process
def test_at_s_0_the_posterior_is_the_clean_token(name):
    x, z = possible_pairs(name, 0.0, 0.7)
    probs = PROCESSES[name].posterior(x, z, batch(0.0, len(x)), batch(0.7, len(x)))
    np.testing.assert_allclose(numpy(probs), np.eye(PROCESSES[name].num_states)[x], atol=1e-6)


@every_process
@every_times
def test_sample_posterior_frequencies(name, s, t):
    n = 20_000
    x, z = (np.broadcast_to(ids.T, (n, len(ids))) for ids in possible_pairs(name, s, t))
    drawn = PROCESSES[name].sample_posterior(x, z, batch(s, n), batch(t, n), seed=3)
    exact = exact_posterior(name, s, t)[x[0], z[0]]
    states = PROCESSES[name].num_states
    assert_frequencies(frequencies(numpy(drawn).astype(int), states), exact, n)


@every_process
def test_sample_posterior_draws_positions_on_their_own(name):
    n = 20_000
    process = PROCESSES[name]
    z = np.full((n, 2), process.num_states - 1)
    x = np.zeros((n, 2), int)
    drawn = numpy(process.sample_posterior(x, z, batch(0.3, n), batch(0.8, n), seed=4)) == 0
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 5 / math.sqrt(n)


@every_process
@pytest.mark.parametrize("t", [0.0, 0.25, 0.7, 1.0])
def test_corruption_frequencies(name, t):
    n = 20_000
    x = np.broadcast_to(np.arange(K), (n, K))
    z = numpy(PROCESSES[name].corrupt(x, batch(t, n), seed=1))
    assert z.dtype == np.int32
    exact = oracle.corruption(kind(name), K, 1.0 - t)
    assert_frequencies(frequencies(z, PROCESSES[name].num_states), exact, n)


@every_process
def test_corruption_takes_a_time_an_example(name):
    n = 5_000
    x = np.zeros((2 * n, 1), int)
    t = np.repeat(np.array([0.0, 1.0], "float32"), n)
    z = numpy(PROCESSES[name].corrupt(x, t, seed=2))
    assert (z[:n] == 0).all() and (z[n:] != 0).mean() > 0.6


@every_process
def test_prior_frequencies(name):
    n = 20_000
    process = PROCESSES[name]
    z = numpy(process.prior((n, 2), seed=1))
    exact = np.tile(oracle.noise_distribution(kind(name), K), (2, 1))
    assert z.dtype == np.int32
    assert_frequencies(frequencies(z, process.num_states), exact, n)


@every_process
def test_two_steps_of_the_posterior_are_one(name):
    """`Σ_{z_s} q(z_s | z_t, x) q(z_r | z_s, x) = q(z_r | z_t, x)`, a check of the oracle itself."""
    far, near = exact_posterior(name, 0.5, 0.8), exact_posterior(name, 0.2, 0.5)
    both = np.einsum("xts,xsr->xtr", np.nan_to_num(far), np.nan_to_num(near))
    exact = np.nan_to_num(exact_posterior(name, 0.2, 0.8))
    np.testing.assert_allclose(both, exact, atol=1e-12)


def test_transitions_compose_to_corruptions_in_the_oracle():
    for name in ("masked", "uniform"):
        q_s, q_t = (oracle.corruption(name, K, alpha) for alpha in (0.7, 0.2))
        np.testing.assert_allclose(q_s @ oracle.transition(name, K, 0.7, 0.2), q_t, atol=1e-12)
