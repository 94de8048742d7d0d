import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend, random
from keras_dmmd.sampling import Sampler
from keras_dmmd.sampling.sampler import time_grid
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser
from tests.training.test_diffusion_model import PROCESSES, small_model


def exact_model(process, seed=2):
    support, probabilities = toy.random_modes(seed)
    denoiser = ExactDenoiser(support, probabilities, process)
    return kd.DiffusionModel(denoiser, process, length=5), support, probabilities


def randomised(model):
    """A small network whose output depends on everything."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    return model


@pytest.mark.heavy
@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_many_steps_of_the_exact_denoiser_draw_from_the_data(process):
    model, support, probabilities = exact_model(process)
    draws = model.generate(20_000, steps=128, seed=0, verbose=0)
    # 8 modes, 20,000 draws: about 0.01 by chance; 128 factorised steps leave about as much.
    assert kd.metrics.total_variation(draws, support, probabilities) < 0.04


def test_one_step_of_the_exact_denoiser_draws_from_the_marginals():
    process = kd.MaskedDiffusion(3)
    model, support, probabilities = exact_model(process)
    draws = model.generate(20_000, steps=1, seed=0)
    marginals = np.stack([(probabilities[:, None] * (support == k)).sum(0) for k in range(3)])
    frequencies = np.stack([(draws == k).mean(0) for k in range(3)])
    assert np.abs(frequencies - marginals).max() < 5 * 0.5 / 20_000**0.5


def test_same_seed_same_samples_and_seeds_matter():
    model = randomised(small_model())
    first = model.generate(32, steps=4, seed=1)
    assert first.dtype == np.int32
    assert first.shape == (32, 5)
    assert ((0 <= first) & (first < 3)).all()
    assert (first == model.generate(32, steps=4, seed=1)).all()
    assert (first != model.generate(32, steps=4, seed=2)).any()


def test_a_step_is_traced_once_a_shape():
    if keras.backend.backend() == "torch":
        pytest.skip("torch runs eagerly: nothing is compiled")
    model = randomised(small_model())
    sampler = Sampler(model)
    for steps, seed, temperature in ((4, 0, 1.0), (7, 1, 1.0), (4, 2, 0.5)):
        sampler(16, steps, 5, seed, temperature=temperature)
    assert sampler.trace_count == 1
    sampler(40, 3, 5, 0, batch_size=16)  # a shorter last batch is padded, not compiled
    assert sampler.trace_count == 1
    sampler(17, 3, 5, 0)
    assert sampler.trace_count == 2


def test_new_weights_reach_a_compiled_step():
    model = randomised(small_model())
    before = model.generate(64, steps=2, seed=0)
    model.set_weights([w * 0 for w in model.get_weights()])
    head_bias = model.denoiser.head.bias
    head_bias.assign(np.array([0.0, 50.0, 0.0]))
    assert (before != 1).any()
    assert (model.generate(64, steps=2, seed=0) == 1).all()


def test_trajectory_goes_from_noise_to_the_samples():
    model = randomised(small_model())
    path = model.generate(8, steps=5, seed=3, trajectory=True)
    assert path.shape == (6, 8, 5)
    assert (path[0] == model.process.mask_id).all()
    assert (path[-1] == model.generate(8, steps=5, seed=3)).all()
    revealed = path != model.process.mask_id
    assert (revealed[1:] >= revealed[:-1]).all()


def test_low_temperature_and_small_nucleus_take_the_mode():
    process = kd.MaskedDiffusion(3)
    support = np.arange(3)[:, None].astype("int32")
    exact = ExactDenoiser(support, np.array([0.5, 0.3, 0.2]), process)
    model = kd.DiffusionModel(exact, process, length=1)
    assert (model.generate(500, steps=1, temperature=0.02) == 0).all()
    assert (model.generate(500, steps=1, top_p=0.4) == 0).all()
    two = model.generate(4000, steps=1, top_p=0.6)
    assert (two != 2).all()
    assert abs((two == 0).mean() - 0.625) < 5 * 0.5 / 4000**0.5


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    model = randomised(small_model())
    sampler = Sampler(model)
    run, sizes = sampler._run, []

    def small_device(step, key, n, *args):
        sizes.append(n)
        if n > 5:
            raise RuntimeError("full")
        return run(step, key, n, *args)

    monkeypatch.setattr(sampler, "_run", small_device)
    monkeypatch.setattr(backend, "is_out_of_memory", lambda error: "full" in str(error))
    draws = sampler(12, 2, 5, 0)
    assert draws.shape == (12, 5)
    assert sizes[:3] == [12, 6, 3]


def test_chunks_use_no_key_twice(monkeypatch):
    """Were a chunk's key among those that another chunk splits off, their draws would agree."""
    sampler, seen = Sampler(small_model()), []

    def run(step, key, n, steps, starts, size, *args):
        seen.extend(random.split(key, steps + 1))
        return np.zeros((n, size), "int32")

    monkeypatch.setattr(sampler, "_run", run)
    sampler(12, 4, 5, 0, batch_size=3)
    draws = [float(ops.convert_to_numpy(random.uniform((1,), key))[0]) for key in seen]
    assert len(draws) == 4 * 5 and len(set(draws)) == len(draws)


def test_other_errors_are_not_swallowed(monkeypatch):
    sampler = Sampler(small_model())
    monkeypatch.setattr(sampler, "_run", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sampler(12, 2, 5, 0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_draws_from_the_same_distribution(policy):
    """Two samplers of 20,000 draws each over 27 outcomes, weights equal."""
    reference = randomised(small_model())
    half = small_model(dtype=policy)
    half.set_weights(reference.get_weights())
    histograms = []
    for model, seed in ((reference, 0), (half, 1)):
        draws = model.generate(20_000, steps=4, seed=seed)[:, :3]
        codes = draws @ np.array([1, 3, 9])
        histograms.append(np.bincount(codes, minlength=27) / len(codes))
    # By chance alone the total variation is about 0.02 and below 0.03.
    assert 0.5 * np.abs(histograms[0] - histograms[1]).sum() < 0.035


def test_any_length_for_a_rotary_network():
    assert randomised(small_model()).generate(4, steps=2, length=9).shape == (4, 9)


def test_the_grid_of_times():
    np.testing.assert_allclose(time_grid(4), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(time_grid(1), [1, 0])


def test_progress_bar_when_asked(capsys):
    small_model().generate(4, steps=3, verbose=1)
    assert "3/3" in capsys.readouterr().out
    small_model().generate(4, steps=3)
    assert capsys.readouterr().out == ""


def test_many_samples_are_drawn_in_equal_parts(monkeypatch):
    """100 samples in batches of at most 60 are two of 50, not 60 and 40 that are filled up."""
    sampler, sizes = Sampler(small_model()), []

    def run(step, key, n, steps, starts, size, *args):
        sizes.append(n)
        return np.zeros((n, size), "int32")

    monkeypatch.setattr(sampler, "_run", run)
    monkeypatch.setattr("keras_dmmd.sampling.sampler.max_logits", lambda: 60 * 5 * 3)
    assert sampler(100, 2, 5, 0).shape == (100, 5)
    assert sizes == [50, 50]
    sampler(121, 2, 5, 0)
    assert sizes[2:] == [41, 41, 41]


def test_logits_that_are_not_numbers_are_named():
    model = randomised(small_model())
    model.denoiser.head.bias.assign(np.array([np.nan] + [0] * (model.denoiser.head.bias.shape[0] - 1)))
    with pytest.raises(ValueError, match="logits are NaN"):
        model.generate(3, steps=2)
