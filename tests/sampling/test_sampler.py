import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import backend
from keras_dmmd.sampling import buckets
from keras_dmmd.sampling.grids import time_grid
from keras_dmmd.training import generation
from tests.builders import exact_model, randomise, small_model, tiny_model
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

SUPPORT, PROBABILITIES = toy.random_modes(2)


def test_one_step_of_the_exact_denoiser_draws_from_the_marginals():
    draws = exact_model().generate(20_000, steps=1, seed=0)
    marginals = np.stack([(PROBABILITIES[:, None] * (SUPPORT == k)).sum(0) for k in range(3)])
    frequencies = np.stack([(draws == k).mean(0) for k in range(3)])
    assert np.abs(frequencies - marginals).max() < 5 * 0.5 / 20_000**0.5


def test_same_seed_same_samples_and_seeds_matter():
    model = tiny_model()
    first = model.generate(32, steps=4, seed=1)
    assert first.dtype == np.int32
    assert first.shape == (32, 5)
    assert ((0 <= first) & (first < 3)).all()
    assert (first == model.generate(32, steps=4, seed=1)).all()
    assert (first != model.generate(32, steps=4, seed=2)).any()


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Torch runs eagerly")
def test_requests_share_compiled_steps():
    """30 of 1 to 8 rows, with and without prompts, gaps and a nucleus: three steps, or one."""
    rng = np.random.default_rng(0)
    for process, batch_size, traces in [
        (kd.MaskedDiffusion(3), None, 3),
        (kd.MaskedDiffusion(3), 8, 1),
        (kd.UniformDiffusion(3), None, 3),
    ]:
        model = tiny_model(process)
        for i in range(30):
            n = int(rng.integers(1, 9))
            told = {"prompts": [[1]] if i % 3 == 0 else [[kd.Gap(2), [2]]]} if i % 2 else {}
            model.generate(
                n,
                steps=int(rng.integers(1, 5)),
                seed=i,
                batch_size=batch_size,
                temperature=rng.uniform(),
                top_p=rng.choice([None, 1, 1.0, 0.9, rng.uniform(0.1, 1.0)]),
                **told,
            )
        assert model.trace_count == traces


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Torch pads nothing")
def test_incomplete_batches_are_filled_up(monkeypatch):
    model = tiny_model()
    device = Device(monkeypatch, model)
    for n, batch_size in [(40, 16), (3, 8), (2, None), (6, None), (33, None), (100, None)]:
        device.sizes.clear()
        assert len(model.generate(n, steps=1, batch_size=batch_size)) == n
        assert device.sizes == {40: [16] * 3, 3: [8], 2: [4], 6: [8], 33: [48], 100: [128]}[n]
    monkeypatch.setattr(generation, "elements_per_call", lambda: 20 * 5 * (3 + 5))
    for n, sizes in [(100, [16] * 6 + [4]), (10, [12]), (17, [16, 1])]:
        device.sizes.clear()
        assert len(model.generate(n, steps=1)) == n
        assert device.sizes == sizes


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 8, 60, 3001])
@pytest.mark.parametrize("compiled", [True, False])
def test_sizes_of_batches(most, compiled):
    """They fit, hold all rows, and what fills up is less than half."""
    for n in (1, 2, 5, 37, 1000):
        sizes, left = buckets.BatchSizes(n, None, most, compiled), n
        while left > 0:
            size = sizes.of(left)
            assert 1 <= size <= most and (compiled or size <= left)
            assert size <= 2 * left
            left -= size


def test_new_weights_reach_a_compiled_step():
    model = tiny_model()
    before = model.generate(64, steps=2, seed=0)
    model.set_weights([w * 0 for w in model.get_weights()])
    head_bias = model.denoiser.head.bias
    head_bias.assign(np.array([0.0, 50.0, 0.0]))
    assert (before != 1).any()
    assert (model.generate(64, steps=2, seed=0) == 1).all()


def test_trajectory_goes_from_noise_to_the_samples():
    model = tiny_model()
    path = model.generate(8, steps=5, seed=3, trajectory=True)
    assert path.shape == (6, 8, 5)
    assert (path[0] == model.process.mask_id).all()
    assert (path[-1] == model.generate(8, steps=5, seed=3)).all()
    revealed = path != model.process.mask_id
    assert (revealed[1:] >= revealed[:-1]).all()


def test_low_temperature_and_small_nucleus_take_the_mode():
    """A temperature of 0 too: it is greedy."""
    process = kd.MaskedDiffusion(3)
    support = np.arange(3)[:, None].astype("int32")
    exact = ExactDenoiser(support, np.array([0.5, 0.3, 0.2]), process)
    model = kd.DiffusionModel(exact, process, length=1)
    for temperature in (0.02, 0.0, 0):
        assert (model.generate(500, steps=1, temperature=temperature) == 0).all()
    assert (model.generate(500, steps=1, top_p=0.4) == 0).all()
    two = model.generate(4000, steps=1, top_p=0.6)
    assert (two != 2).all()
    assert abs((two == 0).mean() - 0.625) < 5 * 0.5 / 4000**0.5


class Device:
    """Counts the rows of every batch that starts, and is full at more than it has room for."""

    def __init__(self, monkeypatch, model, room=10**9):
        self.sizes, prior = [], model.process.prior

        def limited(shape, seed):
            self.sizes.append(shape[0])
            if shape[0] > room:
                raise RuntimeError("full")
            return prior(shape, seed)

        monkeypatch.setattr(model.process, "prior", limited)
        monkeypatch.setattr(backend, "is_out_of_memory", lambda error: "full" in str(error))


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    model = tiny_model()
    device = Device(monkeypatch, model, room=5)
    halved = model.generate(12, steps=2, batch_size=12)
    assert device.sizes == [12, 6, 3, 3, 3, 3]
    monkeypatch.undo()
    np.testing.assert_array_equal(model.generate(12, steps=2, batch_size=12), halved)


def test_batches_share_no_draws():
    """Were a batch's key among those that another batch splits off, their draws would agree."""
    model = kd.DiffusionModel(tiny_model(kd.UniformDiffusion(3)).denoiser, kd.UniformDiffusion(3), 64)
    draws = model.generate(12, steps=4, length=64, batch_size=3)
    rows = {row.tobytes() for row in draws}
    assert len(rows) == 12


def test_other_errors_are_not_swallowed(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(model.process, "prior", lambda shape, seed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.generate(12, steps=2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_draws_from_the_same_distribution(policy):
    """Two samplers of 20,000 draws each over 27 outcomes, weights equal."""
    reference = randomise(small_model())
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
    assert tiny_model().generate(4, steps=2, length=9).shape == (4, 9)


def test_the_grid_of_times():
    np.testing.assert_allclose(time_grid(4), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(time_grid(1), [1, 0])
    np.testing.assert_allclose(time_grid(2, "cosine"), [1, 0.5**0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(time_grid(2, [1.0, 0.3, 0.0]), [1, 0.3, 0])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("sine", "`times` must be one of"),
        ([1.0, 0.5], "fall from 1 to 0"),
        ([1.0, 0.5, 0.5, 0.0], "fall from 1 to 0"),
        ([0.9, 0.0], "fall from 1 to 0"),
        ([[1.0, 0.0]], "fall from 1 to 0"),
    ],
)
def test_times_that_are_none(times, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().generate(2, times=times)


def test_times_say_how_many_calls_there_are():
    model = tiny_model()
    times = [1.0, 0.75, 0.5, 0.25, 0.0]
    draws, calls = model.generate(6, times=times, return_calls=True)
    np.testing.assert_array_equal(draws, model.generate(6, steps=4))
    assert (calls == 4).all()
    with pytest.raises(ValueError, match="5 entries make 4 calls. Received: steps=3"):
        model.generate(6, times=times, steps=3)
    assert (model.generate(6, steps=4, times="cosine") != draws).any()


def test_progress_bar_when_asked(capsys):
    tiny_model().generate(4, steps=3, verbose=1)
    assert "3/3" in capsys.readouterr().out
    tiny_model().generate(4, steps=3)
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="batches that are compiled for")
def test_many_samples_are_drawn_in_equal_parts(monkeypatch):
    """100 samples in batches of at most 60 are two of 50, not 60 and 40."""
    model = tiny_model()
    device = Device(monkeypatch, model)
    monkeypatch.setattr(generation, "elements_per_call", lambda: 60 * 5 * (3 + 5))
    assert model.generate(100, steps=2).shape == (100, 5)
    model.generate(121, steps=2)
    assert device.sizes == [50, 50, 41, 41, 39]


def test_logits_that_are_not_numbers_are_named():
    model = tiny_model()
    model.denoiser.head.bias.assign(np.array([np.nan] + [0] * (model.denoiser.head.bias.shape[0] - 1)))
    with pytest.raises(ValueError, match="logits are NaN"):
        model.generate(3, steps=2)
