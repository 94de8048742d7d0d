"""Sequences of many lengths share few compiled steps: what fills them up changes nothing."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.conditions import Conditions
from keras_dmmd.sampling import buckets
from tests.builders import numpy, randomise, small_model

COMPILES = keras.backend.backend() != "torch"


@pytest.mark.parametrize("options", [{}, {"position": "learned", "length": 12}, {"prompts": True}])
def test_no_token_attends_to_padding(options):
    denoiser = randomise(small_model(**options).denoiser)
    rng = np.random.default_rng(0)
    z, t = rng.integers(0, 4, (3, 9)).astype("int32"), np.array([0.2, 0.6, 0.9], "float32")
    valid = np.broadcast_to(np.arange(9) < 7, (3, 9))
    wanted = numpy(denoiser(z[:, :7], t))
    np.testing.assert_allclose(numpy(denoiser(z, t, valid=valid))[:, :7], wanted, atol=2e-5)
    assert np.abs(numpy(denoiser(z, t))[:, :7] - wanted).max() > 1e-3


def test_padding_of_conditions():
    known = np.array([[True, False, False]])
    told = Conditions(known=known, given=np.array([[4, 0, 0]], "int32"), labels=np.array([1]))
    padded = told.padded(1, 3, 5)
    assert padded.known.tolist() == [[True, False, False, True, True]]
    assert padded.given.tolist() == [[4, 0, 0, 0, 0]] and padded.labels.tolist() == [1]
    assert padded.valid.tolist() == [[True, True, True, False, False]]
    assert padded.no_end is None


PROCESSES = [kd.MaskedDiffusion(3), kd.UniformDiffusion(3)]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.__class__.__name__)
def test_samples_of_another_length_are_those_of_no_padding(process, monkeypatch):
    """By the likeliest token, which no draw decides: as if nothing had been filled up."""
    model = randomise(small_model(process), scale=1.0)
    prompts = [[0, 2]]
    options = {"n": 3, "length": 7, "steps": 3, "temperature": 0.0, "seed": 2}
    options |= {"sampler": "confidence"} if process.absorbing else {}
    if process.absorbing:
        options |= {"prompts": prompts}
    padded = model.generate(**options)
    monkeypatch.setattr(buckets, "up", lambda size, *_: size)
    plain = model.generate(**options)
    assert padded.shape == plain.shape == (3, 7)
    if process.absorbing or not COMPILES:
        np.testing.assert_array_equal(padded, plain)


def test_every_shape_of_result():
    model = randomise(small_model())
    samples, calls = model.generate(2, length=7, steps=3, return_calls=True)
    assert samples.shape == (2, 7) and (samples < 3).all() and calls.tolist() == [3, 3]
    assert model.generate(2, length=7, steps=3, trajectory=True).shape == (4, 2, 7)
    _, entropies = model.generate(2, length=7, steps=3, return_entropies=True)
    assert entropies.shape == (3,) and (entropies > 0).all()
    _, calls = model.generate(2, length=7, sampler="first_hitting", return_calls=True)
    assert calls.tolist() == [7, 7]


@pytest.mark.skipif(not COMPILES, reason="nothing is compiled")
def test_lengths_share_steps():
    model = randomise(small_model(position="learned", length=40))
    for length in (5, 3, 4, 6, 7, 8, 5):
        assert model.generate(3, steps=2, length=length).shape == (3, length)
    assert model.trace_count == 3  # 5, the model's own; 4; 8
    for length in (33, 39, 40):
        model.generate(3, steps=2, length=length)
    assert model.trace_count == 4  # as many as there are positions
    with pytest.raises(ValueError, match="positions for 40"):
        model.generate(3, steps=2, length=41)
