"""Di4C against a simulation in numpy of the whole of its loss, for two coins and a known mixture."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.builders import key, numpy, tiny_model
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

N, SURE = 2, 0.9


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class CoinMixture(keras.layers.Layer):
    """Both coins show λ's side, with probability 0.9 each; one that is known decides the other."""

    def sample_noise(self, batch_size, length, seed):
        return kd.random.uniform((batch_size, 1, 1), seed)

    def call(self, z_t, t, noise=None):
        heads = ops.where(noise[..., 0] < 0.5, SURE, 1 - SURE)  # (batch, 1)
        other = ops.flip(z_t, axis=1)
        known = ops.cast(other, "float32")
        heads = ops.where(other == 2, heads + ops.zeros_like(known), known)
        return ops.log(ops.maximum(ops.stack([1 - heads, heads], axis=-1), 1e-6))


def coins(denoiser, name=None):
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(2), length=2, name=name)


def made(**kwargs):
    teacher = coins(ExactDenoiser(*toy.equal_coins(), kd.MaskedDiffusion(2)))
    denoiser = CoinMixture()
    denoiser.build((None, 2))
    return kd.Di4CDistiller(teacher, student=coins(denoiser), mixture=N, **kwargs)


def test_of_no_rows():
    """Such as a process may have of a last batch."""
    losses, figures = made().role_losses("student", np.zeros((0, 2), "int32"), key())
    assert losses.shape == (0,) and numpy(figures["correlation"]) == 0.0


def heads_of(sides):
    """The chance of heads for each coin, by the side that λ is on."""
    return np.where(sides, SURE, 1 - SURE)


def simulated(n, delta, rate, teacher_steps, data_weight, rng):
    """The loss of `n` rows in nats per token, in numpy, drawn anew."""
    small = rng.random(n) < rate
    t = rng.random(n)
    t = np.where(small, delta * t, delta + (1 - delta) * t)
    both = rng.random(n) < t * t  # else one coin is known, or both: nothing is left to say
    data = rng.random(n) < 0.5
    sides = rng.random((N, n)) < 0.5
    heads = heads_of(sides)
    marginal = heads.mean(0)

    def correlation(first, second):
        ones = np.where(first, heads, 1 - heads), np.where(second, heads, 1 - heads)
        apart = [np.where(x, marginal, 1 - marginal) for x in (first, second)]
        return np.log(apart[0]) + np.log(apart[1]) - np.log((ones[0] * ones[1]).mean(0))

    def marginals(*laws):
        total = 0
        for law in laws:
            for p, q in ((law, marginal), (1 - law, 1 - marginal)):
                total = total + np.where(p > 0, p * np.log(np.maximum(p, 1e-12) / q), 0)
        return total

    followed = 2 * np.mean(0.5 * np.log(0.5 / heads) + 0.5 * np.log(0.5 / (1 - heads)), axis=0)
    u = t - np.minimum(1 / teacher_steps, t / 2)
    laws, correlations = [], []
    for _ in range(N):
        stays = rng.random((2, n)) < u / t
        opened = rng.random((2, n)) < 0.5  # the teacher draws both coins apart
        side = heads_of(rng.random(n) < 0.5)
        law = [
            np.where(stays[i], np.where(stays[1 - i], side, opened[1 - i]), opened[i]) for i in (0, 1)
        ]
        correlations.append(correlation(*(rng.random(n) < p for p in law)))
        laws.append(law)
    law = np.mean(laws, axis=0)
    consistent = np.mean(correlations, axis=0) + marginals(*law)
    own = correlation(data, data)
    loss = np.where(small, followed, consistent) + data_weight * (own + marginals(0.5, 0.5))
    return both * loss / 2, both * own / 2


@pytest.mark.parametrize(("rate", "delta"), [(0.0, 0.1), (1.0, 0.9)])
def test_the_loss_of_a_known_mixture(rate, delta):
    n, options = 40_000, {"teacher_steps": 3, "data_weight": 0.5}
    model = made(delta=delta, delta_rate=rate, **options)
    losses, logs = model.role_losses("student", toy.samples(*toy.equal_coins(), n, 0), key())
    losses = numpy(losses)
    wanted, own = simulated(200_000, delta, rate, rng=np.random.default_rng(0), **options)
    error = 4 * (losses.var() / n + wanted.var() / len(wanted)) ** 0.5
    assert abs(losses.mean() - wanted.mean()) < error < 0.06 * wanted.mean()
    error = 4 * own.std() * (1 / n + 1 / len(own)) ** 0.5
    assert abs(float(logs["correlation"]) - own.mean()) < error < 0.1 * abs(own.mean())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: {"student": t.copy()}, "needs a student with a random input"),
        (lambda t: {"noise": None}, "needs a student with a random input"),
        (lambda t: {"mixture": 1}, "`mixture` must be"),
        (lambda t: {"delta": 0.0}, "`delta` must be"),
        (lambda t: {"delta_rate": 1.5}, "`delta_rate` must be"),
        (lambda t: {"data_weight": -1}, "`data_weight` must be"),
        (lambda t: {"teacher_steps": 0}, "`teacher_steps` must be"),
    ],
)
def test_bad_combinations(make, message):
    teacher = tiny_model()
    with pytest.raises(ValueError, match=message):
        kd.Di4CDistiller(teacher, **make(teacher))


def test_the_teachers_own_number_of_steps():
    assert kd.Di4CDistiller(tiny_model()).teacher_steps == 64
