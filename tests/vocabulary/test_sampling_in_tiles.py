"""A sampler that makes logits in tiles, where it needs them, draws what it draws of whole tables."""

import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import samplers
from tests.builders import PROCESSES, all_on_torch, randomise, small_model

SAMPLERS = [
    samplers.Ancestral(),
    samplers.Psi(0.6),
    samplers.Confidence(),
    samplers.Confidence("margin", randomness=0.5),
    samplers.Confidence("entropy"),
    samplers.Threshold(0.5),
    samplers.EntropyBound(0.5, start_temperature=1.2),
    samplers.Remasking(eta=0.3),
    samplers.FirstHitting(),
]


def both(process, network=None, **options):
    """What two models with the same weights draw: of whole tables, and of tiles of 4 positions.

    Learned positions, since masks at rotary ones are alike: which is surer would be left to rounding.
    """
    found, network = [], {"position": "learned", "length": 5, **(network or {})}
    for tiles in (False, 4):
        model = randomise(small_model(process, **network))
        model.tiles = tiles
        found.append(model.generate(8, seed=3, **options))
    return found


@all_on_torch("sampler", SAMPLERS)
def test_every_sampler(sampler):
    wanted, found = both(kd.MaskedDiffusion(3), sampler=sampler, temperature=3.0, return_calls=True)
    for own, value in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(own, value)
    assert len(np.unique(wanted[0], axis=0)) > 1


@pytest.mark.parametrize("process", PROCESSES[1:], ids=repr)
def test_every_process(process):
    wanted, found = both(process, steps=3)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.long_compilation
def test_what_is_told_and_asked():
    known = np.broadcast_to(np.arange(5) == 2, (8, 5))
    options = {"prompts": np.ones((8, 5), int), "known": known, "labels": 1, "guidance_scale": 1.5}
    network = {"num_classes": 2, "prompts": True, "self_conditioning": True}
    for process in PROCESSES[:2]:
        for own in (network, {"num_classes": 2, "prompts": True}):
            wanted, found = both(process, own, steps=3, top_p=0.8, return_entropies=True, **options)
            np.testing.assert_array_equal(found[0], wanted[0])
            np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)
            assert (wanted[0][:, 2] == 1).all()


class Looks(kd.samplers.Stepper):
    """Opens all, and writes down what it is told of the tokens that are there already."""

    def step(self, process, prediction, z_t, s, t, state, keys):
        everywhere = ops.ones_like(z_t, "bool")
        likeliest = ops.argmax(prediction.log_probs, axis=-1)
        drawn = prediction.draw(keys[0], everywhere)
        is_open, mask = process.is_open(z_t), process.mask_id
        agree = ops.logical_and(ops.equal(likeliest, z_t), ops.equal(drawn, z_t))
        first = ops.where(ops.logical_or(is_open, agree), drawn, mask)  # a mask stands for a mistake
        return kd.samplers.Step(first, state)


@pytest.mark.parametrize("tiles", [False, 4])
def test_a_token_that_is_there_is_certain(tiles):
    """Also where it was asked for."""
    model = randomise(small_model())
    model.tiles = tiles
    found = model.generate(8, steps=2, sampler=Looks())
    assert found.shape == (8, 5)


@pytest.mark.parametrize("tiles", [False, 4])
def test_a_head_of_nan_is_seen(tiles):
    model = small_model()
    model.tiles = tiles
    model.denoiser.head.bias.assign(np.array([0.0, np.nan, 0.0]))
    with pytest.raises(ValueError, match="logits are NaN"):
        model.generate(2, steps=2)
