"""Losses: with the exact denoiser the NELBO is the entropy of the data."""

import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.oracles import processes as oracle
from tests.oracles import toy
from tests.oracles.exact_blocks import ExactBlockDenoiser
from tests.oracles.exact_denoiser import ExactDenoiser

K, LENGTH = 3, 3
SUPPORT = np.array([[0, 1, 2], [0, 2, 1], [2, 2, 2], [1, 0, 0], [1, 1, 0]])
PROBABILITIES = np.array([0.35, 0.25, 0.2, 0.15, 0.05])
PROCESSES = {
    "masked": lambda schedule: kd.MaskedDiffusion(K, schedule),
    "uniform": lambda schedule: kd.UniformDiffusion(K, schedule, prediction="mean"),
    "uniform-loo": lambda schedule: kd.UniformDiffusion(K, schedule, prediction="loo"),
}
every_process = pytest.mark.parametrize("name", PROCESSES)
SCHEDULES = ["linear", "cosine", "md4_cosine", "polynomial"]


def kind(name):
    return name.split("-")[0]


def numpy(x):
    return ops.convert_to_numpy(x)


def random_inputs(name, n=6, seed=0):
    """`logits, x, z, t` with `z` possible under `x`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, LENGTH, K)).astype("float32")
    x = rng.integers(K, size=(n, LENGTH))
    noise = K if name == "masked" else rng.integers(K, size=x.shape)
    z = np.where(rng.random(x.shape) < 0.4, x, noise)
    t = np.linspace(0.15, 0.9, n).astype("float32")
    return logits, x, z, t


def softmax(logits):
    p = np.exp(np.float64(logits))
    return p / p.sum(-1, keepdims=True)


def expected_nelbo(name, process, predict, support, probabilities):
    """The mean of the NELBO over data, all corruptions and times; `predict(z, t, x)` gives logits.

    Gauss-Legendre in u, t = u²: the integrand has a logarithmic pole at t = 0.
    """
    nodes, weights = np.polynomial.legendre.leggauss(60)
    u, weights = (nodes + 1) / 2, weights / 2
    times, weights = (u**2).astype("float32"), weights * 2 * u
    states = oracle.all_states(kind(name), K, support.shape[1])
    z, t = np.tile(states, (60, 1)), np.repeat(times, len(states))
    alpha = numpy(process.signal(times).alpha)
    total = 0.0
    for x, p in zip(support, probabilities, strict=True):
        q = [oracle.likelihoods(kind(name), K, a, x[None], states).prod((1, 2)) for a in alpha]
        data = np.broadcast_to(x, z.shape)
        integrand = numpy(process.nelbo(predict(z, t, data), data, z, t))
        total += p * np.sum(np.repeat(weights, len(states)) * np.concatenate(q) * integrand)
    return total


@every_process
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_nelbo_of_the_exact_denoiser_is_the_entropy(name, schedule):
    process = PROCESSES[name](schedule)
    denoiser = ExactDenoiser(SUPPORT, PROBABILITIES, process)
    total = expected_nelbo(name, process, lambda z, t, x: denoiser(z, t), SUPPORT, PROBABILITIES)
    np.testing.assert_allclose(total, oracle.entropy(PROBABILITIES), atol=1e-3)


@every_process
def test_nelbo_of_the_exact_denoiser_of_blocks_is_the_entropy(name):
    """By the chain rule, each block given the clean ones before it."""
    process = PROCESSES[name]("linear")
    support, probabilities = toy.random_modes(1, length=4)
    denoiser = ExactBlockDenoiser(support, probabilities, process, block_size=2)
    total = expected_nelbo(
        name, process, lambda z, t, x: denoiser(z, t, context=x), support, probabilities
    )
    np.testing.assert_allclose(total, oracle.entropy(probabilities), atol=1e-3)


@every_process
@pytest.mark.parametrize("t", [0.01, 0.4, 0.97, 1.0])
def test_log_mean_of_the_exact_denoiser_is_the_exact_mean(name, t):
    process = PROCESSES[name]("linear")
    z = oracle.all_states(kind(name), K, LENGTH)
    possible = oracle.marginal(kind(name), K, 1 - t, SUPPORT, PROBABILITIES, z) > 0
    times = np.full(len(z), t, "float32")
    logits = ExactDenoiser(SUPPORT, PROBABILITIES, process)(z, times)
    mean = np.exp(numpy(process.log_mean(logits, z, times)))
    exact = oracle.exact_mean(kind(name), K, 1 - t, SUPPORT, PROBABILITIES, z[possible])
    np.testing.assert_allclose(mean[possible], exact, atol=2e-5)


@pytest.mark.parametrize("name", ["uniform", "uniform-loo"])
def test_log_loo_of_the_exact_denoiser_is_the_exact_leave_one_out(name):
    process = PROCESSES[name]("linear")
    z = oracle.all_states("uniform", K, LENGTH)
    times = np.full(len(z), 0.4, "float32")
    logits = ExactDenoiser(SUPPORT, PROBABILITIES, process)(z, times)
    exact = oracle.exact_loo("uniform", K, 0.6, SUPPORT, PROBABILITIES, z)
    np.testing.assert_allclose(np.exp(numpy(process.log_loo(logits, z, times))), exact, atol=2e-5)


@every_process
def test_the_exact_denoiser_is_finite_where_no_data_could_lead(name):
    process = PROCESSES[name]("linear")
    z = oracle.all_states(kind(name), K, LENGTH)
    for t in (0.0, 1e-4, 1.0):
        logits = ExactDenoiser(SUPPORT, PROBABILITIES, process)(z, np.full(len(z), t, "float32"))
        assert np.isfinite(numpy(logits)).all()


def test_the_loss_of_a_mean_prediction_is_plain_cross_entropy():
    process = PROCESSES["uniform"]("cosine")
    logits, x, z, t = random_inputs("uniform")
    expected = -np.log(np.take_along_axis(softmax(logits), x[..., None], -1)).sum((-2, -1))
    np.testing.assert_allclose(numpy(process.loss(logits, x, z, t)), expected, rtol=1e-5)


@every_process
def test_nelbo_of_any_prediction(name):
    process = PROCESSES[name]("linear")
    logits, x, z, t = random_inputs(name)
    prediction = softmax(logits)
    for row, actual in enumerate(numpy(process.nelbo(logits, x, z, t))):
        alpha, p = 1.0 - float(t[row]), prediction[row : row + 1]
        if name == "uniform":
            p = p / oracle.corruption("uniform", K, alpha).T[z[row : row + 1]]
            p = p / p.sum(-1, keepdims=True)
        expected = oracle.nelbo(kind(name), K, alpha, -1.0, p, x[row : row + 1], z[row : row + 1])
        np.testing.assert_allclose(actual, expected[0], rtol=1e-4)


@pytest.mark.parametrize("name", ["masked", "uniform-loo"])
def test_the_training_loss_is_the_nelbo(name):
    process = PROCESSES[name]("cosine")
    logits, x, z, t = random_inputs(name)
    nelbo = numpy(process.nelbo(logits, x, z, t))
    np.testing.assert_allclose(numpy(process.loss(logits, x, z, t)), nelbo, rtol=1e-5)


def test_the_masked_cost_is_zero_at_known_tokens():
    process = PROCESSES["masked"]("linear")
    logits, _, z, t = random_inputs("masked")
    cost = numpy(process.cost(logits, z, t))
    assert (cost[z != K] == 0).all() and (cost[z == K] > 0).all()


def test_the_leave_one_out_cost_is_the_double_sum():
    process = PROCESSES["uniform-loo"]("linear")
    logits, _, z, t = random_inputs("uniform-loo")
    cost = numpy(process.cost(logits, z, t))
    loo = softmax(logits)
    for row in range(len(z)):
        for k in range(K):
            x = np.full(LENGTH, k)
            expected = oracle.posterior_kl(K, 1.0 - float(t[row]), loo[row], x, z[row])
            np.testing.assert_allclose(cost[row, :, k], expected, rtol=1e-4, atol=1e-5)


def test_the_leave_one_out_cost_of_the_truth_is_zero():
    process = PROCESSES["uniform-loo"]("linear")
    _, x, z, t = random_inputs("uniform-loo")
    logits = np.where(np.eye(K)[x] > 0, 0.0, -60.0).astype("float32")
    cost = np.take_along_axis(numpy(process.cost(logits, z, t)), x[..., None], -1)
    np.testing.assert_allclose(cost, 0.0, atol=1e-5)


def test_mean_and_leave_one_out_convert_into_each_other():
    mean, loo = PROCESSES["uniform"]("linear"), PROCESSES["uniform-loo"]("linear")
    logits, _, z, t = random_inputs("uniform")
    there_and_back = loo.log_mean(mean.log_loo(logits, z, t), z, t)
    np.testing.assert_allclose(numpy(there_and_back), np.log(softmax(logits)), atol=1e-5)
    back_and_there = mean.log_loo(loo.log_mean(logits, z, t), z, t)
    np.testing.assert_allclose(numpy(back_and_there), np.log(softmax(logits)), atol=1e-5)


@every_process
@pytest.mark.parametrize("t", [0.0, 1e-4, 1.0])
def test_losses_are_finite_at_the_ends_of_time(name, t):
    process = PROCESSES[name]("cosine")
    logits, x, z, _ = random_inputs(name)
    logits = 20 * logits
    times = np.full(len(x), t, "float32")
    for value in (process.loss(logits, x, z, times), process.nelbo(logits, x, z, times)):
        assert np.isfinite(numpy(value)).all()


def test_training_times_stay_inside():
    t = np.sort(numpy(PROCESSES["masked"]("linear").training_times(100, seed=1)))
    assert t[0] >= 1e-4 and t[-1] <= 1.0
    assert np.abs(np.diff(t) - 0.01).max() < 1e-3
