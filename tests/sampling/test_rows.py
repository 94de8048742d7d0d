"""A sample depends on its seed and its row, not on the batch that it is drawn in."""

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import backend, samplers
from keras_dmmd.sampling import sampler as sampling
from tests.builders import PROCESSES, randomise, small_model, tiny_model

N = 37


def model(process, **kwargs):
    if "position" not in kwargs:
        return tiny_model(process, **kwargs)
    found = small_model(process, **kwargs)
    randomise(found.denoiser)
    return found


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_rows_do_not_depend_on_the_batch(process):
    own = model(process)
    whole = own.generate(N, steps=3, seed=4, batch_size=N)
    assert len({row.tobytes() for row in whole}) > 5
    np.testing.assert_array_equal(own.generate(N, steps=3, seed=4, batch_size=5), whole)
    # The first rows of more are those of fewer.
    np.testing.assert_array_equal(own.generate(8, steps=3, seed=4, batch_size=5), whole[:8])
    assert (own.generate(N, steps=3, seed=5, batch_size=N) != whole).any()


@pytest.mark.parametrize("noise", ["gaussian", "token"])
def test_rows_of_a_student(noise):
    own = model(kd.MaskedDiffusion(3), noise=noise)
    whole = own.generate(N, steps=3, seed=4, batch_size=N)
    for batch_size in (1, 5):
        np.testing.assert_array_equal(own.generate(N, steps=3, seed=4, batch_size=batch_size), whole)


@pytest.mark.parametrize("sampler", samplers.names())
def test_rows_of_every_sampler(sampler):
    # Of masks alone, rotary positions make equal predictions everywhere: which is the surest would then
    # be a matter of rounding, which differs from batch to batch.
    own = model(kd.MaskedDiffusion(3), position="learned", length=5)
    whole = own.generate(11, seed=1, sampler=sampler, batch_size=11, return_calls=True)
    parts = own.generate(11, seed=1, sampler=sampler, batch_size=3, return_calls=True)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_with_conditions():
    own = model(kd.UniformDiffusion(3), num_classes=2, prompts=True)
    known = np.random.default_rng(0).random((N, 5)) < 0.4
    told = {
        "prompts": np.random.default_rng(1).integers(0, 3, (N, 5)),
        "known": known,
        "labels": np.arange(N) % 2,
        "guidance_scale": 2.0,
        "seed": 3,
        "steps": 4,
    }
    whole = own.generate(N, batch_size=N, trajectory=True, **told)
    np.testing.assert_array_equal(own.generate(N, batch_size=8, trajectory=True, **told), whole)


def test_rows_of_blocks():
    own = kd.DiffusionModel(
        kd.BlockDenoiser(3, hidden_dim=16, num_layers=1, num_heads=2, cond_dim=8, block_size=2),
        kd.MaskedDiffusion(3),
        length=6,
    )
    own.build((None, 6))
    randomise(own.denoiser)
    whole = own.generate(9, steps=2, seed=2, batch_size=9)
    np.testing.assert_array_equal(own.generate(9, steps=2, seed=2, batch_size=2), whole)


def test_rows_that_are_done_leave_the_batch(monkeypatch):
    """Half of the rows need one call; of the others one takes more than all the rest."""
    own = model(kd.MaskedDiffusion(3), position="learned", length=5, self_conditioning=True)
    known = np.ones((16, 5), bool)
    known[8:, 0] = known[12, 1] = False
    known[3] = False
    prompts = np.random.default_rng(0).integers(0, 3, (16, 5))
    told = {"prompts": prompts, "known": known, "sampler": samplers.Threshold(1.0), "seed": 2}
    sizes, step = [], sampling.Sampler.step

    def counted(self, request):
        function = step(self, request)

        def call(state, *args):
            sizes.append(state.z.shape[0])
            return function(state, *args)

        return call

    monkeypatch.setattr(sampling.Sampler, "step", counted)
    draws, calls = own.generate(16, return_calls=True, **told)
    np.testing.assert_array_equal(calls, (~known).sum(axis=1))
    # After a call two rows are left, of which one is done after the next.
    assert sizes == [16] + ([4] if backend.COMPILES else [2]) * 4
    sizes.clear()
    path, entropies = own.generate(16, trajectory=True, return_entropies=True, **told)
    assert sizes == [16] * 5
    np.testing.assert_array_equal(path[-1], draws)
    np.testing.assert_allclose(own.generate(16, return_entropies=True, **told)[1], entropies, rtol=1e-4)


def test_entropies_do_not_depend_on_what_fills_up():
    own = model(kd.MaskedDiffusion(3))
    whole = own.generate(10, steps=3, batch_size=10, return_entropies=True)[1]
    parts = own.generate(10, steps=3, batch_size=4, return_entropies=True)[1]
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
