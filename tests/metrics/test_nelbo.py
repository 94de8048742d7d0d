"""Bits a token, against the entropy of a distribution that is known."""

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import metrics
from tests.builders import tiny_model
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

SUPPORT, PROBABILITIES = toy.random_modes(0)


def exact_model():
    process = kd.MaskedDiffusion(3)
    return kd.DiffusionModel(ExactDenoiser(SUPPORT, PROBABILITIES, process), process, length=5)


def test_of_an_exact_denoiser_it_is_the_entropy():
    metric = metrics.BitsPerToken(exact_model(), corruptions=4, batch_size=500)
    for seed in range(2):
        metric.update_state(toy.samples(SUPPORT, PROBABILITIES, 2000, seed))
    result = metric.result()
    entropy = -(PROBABILITIES * np.log2(PROBABILITIES)).sum() / 5
    assert 0 < result["bits_per_token_error"] < 0.01
    assert result["bits_per_token"] == pytest.approx(entropy, abs=4 * result["bits_per_token_error"])


def test_a_sweep_knows_its_model_and_it_does_not_judge_itself():
    one, other = tiny_model(), tiny_model(seed=1)
    made = [
        metrics.BitsPerToken(one),
        metrics.BitsPerToken(other),
        metrics.BitsPerToken(one, corruptions=2),
        metrics.BitsPerToken(tiny_model(kd.MaskedDiffusion(3, schedule="cosine"))),
        metrics.BitsPerToken(tiny_model()),
    ]
    prints = [repr(metric.fingerprint()) for metric in made]
    assert len(set(prints)) == 4 and prints[0] == prints[4]
    with pytest.raises(ValueError, match="bits_per_token: the reference is 'm' itself"):
        kd.evaluate({"m": one}, [1], [made[0]], samples=8)


def test_bad_input():
    with pytest.raises(ValueError, match="`corruptions`.*0"):
        metrics.BitsPerToken(exact_model(), corruptions=0)
    with pytest.raises(ValueError, match="not empty"):
        metrics.BitsPerToken(exact_model()).update_state(SUPPORT[:0])
