"""Samplers as objects: names, files, what they go with, and what is compiled."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import samplers
from tests.builders import (
    ON_TORCH,
    PROCESSES,
    distiller,
    numpy,
    randomise,
    small_model,
    tiny_model,
    tokens,
)

NAMES = samplers.names()
MASKED_ONLY = ["confidence", "threshold", "entropy_bound", "remasking", "first_hitting"]


def test_names():
    assert NAMES == [
        "ancestral",
        "confidence",
        "threshold",
        "entropy_bound",
        "remasking",
        "psi",
        "first_hitting",
    ]
    for name in NAMES:
        sampler = samplers.get(name)
        assert type(sampler) is type(samplers.get(sampler))
        again = samplers.get(keras.saving.serialize_keras_object(sampler))
        assert type(again) is type(sampler) and again.get_config() == sampler.get_config()
    assert isinstance(samplers.get(None), samplers.Ancestral)
    with pytest.raises(ValueError, match="`sampler` must be one of.*'entropy_bound'.*Received: 'best'"):
        samplers.get("best")


def model_of(kind, process=None):
    """Small random networks with what may stand beside a canvas."""
    process = process or kd.MaskedDiffusion(3)
    if kind == "blocks":
        denoiser = kd.BlockDenoiser(
            3, process.num_states, block_size=3, hidden_dim=16, num_layers=1, num_heads=2
        )
        return kd.DiffusionModel(randomise(denoiser), process, length=9)
    options = {
        "classes": {"num_classes": 2},
        "noise": {"noise": "gaussian"},
    }
    if kind == "self-conditioning":
        return randomise(small_model(process, self_conditioning=True))
    return tiny_model(process, **options.get(kind, {}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        *(
            pytest.param(kind, marks=ON_TORCH)
            for kind in ("blocks", "classes", "self-conditioning", "noise")
        ),
    ],
)
def test_every_sampler_with_everything(name, kind):
    """Prompts stay, all is filled, calls are counted, and the same seed gives the same samples."""
    model = model_of(kind)
    length = model.length
    prompts = np.tile(np.arange(length) % 3, (6, 1))
    known = np.zeros((6, length), bool)
    known[:, :2] = True
    known[0] = True  # a row with nothing to fill
    options = {"labels": 1, "guidance_scale": 2.0} if kind == "classes" else {}
    steps = None if name == "first_hitting" else 4
    options |= {"steps": steps, "sampler": name, "seed": 3, "jit_compile": False}
    draws, calls = model.generate(prompts=prompts, known=known, return_calls=True, **options)
    np.testing.assert_array_equal(draws[known], prompts[known])
    assert ((0 <= draws) & (draws < 3)).all()
    again = model.generate(prompts=prompts, known=known, batch_size=6, **options)
    np.testing.assert_array_equal(draws, again)
    most = (4 if steps else model.capabilities.block_size or length - 2) * (
        3 if kind == "blocks" else 1
    )
    assert calls.shape == (6,) and (1 <= calls[1:]).all() and (calls <= most).all()
    path = model.generate(prompts=prompts, known=known, trajectory=True, **options)
    np.testing.assert_array_equal(path[-1], draws)
    assert (path[:, known] == prompts[known]).all()


@pytest.mark.parametrize("process", PROCESSES[1:], ids=repr)
def test_a_process_refuses_samplers_that_open_masks(process):
    model = tiny_model(process)
    for name in MASKED_ONLY:
        message = f"'{name}'.*for masked diffusion: {type(process).__name__}"
        for attempt in (
            lambda name=name: model.generate(2, sampler=name),
            lambda name=name: model.compile(sampler=name),
            lambda name=name: kd.DiffusionModel(model.denoiser, process, sampler=name),
        ):
            with pytest.raises(ValueError, match=message):
                attempt()
    for name in ("ancestral", "psi"):
        assert model.generate(2, steps=2, sampler=name).shape == (2, 5)


def test_rows_that_are_done_wait_for_the_last():
    """The loop ends when all are; each row's own calls are reported."""
    model = tiny_model()
    prompts = np.zeros((4, 5), "int32")
    known = np.arange(5) < np.array([[5], [4], [2], [0]])
    sampler = samplers.EntropyBound(0.0, confidence_threshold=0.0)
    _, calls = model.generate(prompts=prompts, known=known, sampler=sampler, return_calls=True)
    assert calls.tolist() == [0, 1, 3, 5]
    path, calls = model.generate(
        prompts=prompts[:3],
        known=known[:3],
        sampler=sampler,
        steps=4,
        trajectory=True,
        return_calls=True,
    )
    assert path.shape == (5, 3, 5) and calls.max() == 3
    np.testing.assert_array_equal(path[3], path[4])


def test_a_model_brings_its_sampler(tmp_path):
    sampler = samplers.Confidence("margin", randomness=0.5)
    model = tiny_model()
    expected = model.generate(8, steps=3, sampler=sampler)
    assert (expected != model.generate(8, steps=3)).any()
    model.compile(sampler=sampler)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    # A preset's weights are halved.
    for other in (keras.saving.load_model(tmp_path / "model.keras"), model.copy(), model):
        np.testing.assert_array_equal(other.generate(8, steps=3), expected)
    assert kd.from_preset(tmp_path / "preset").sampler.get_config() == sampler.get_config()
    model.compile()
    assert model.sampler is sampler
    again = kd.DiffusionModel(model.denoiser, model.process, length=5, sampler="threshold")
    assert isinstance(again.sampler, samplers.Threshold)
    assert isinstance(distiller().student.sampler, samplers.Ancestral)


def test_floats_are_swept_without_compiling_again():
    if keras.backend.backend() == "torch":
        pytest.skip("torch runs eagerly: nothing is compiled")
    model = tiny_model()
    for threshold, temperature, top_p in ((0.9, 1.0, 0.9), (0.5, 0.0, 0.5), (0.1, 2.0, 0.3)):
        sampler = samplers.Threshold(threshold)
        model.generate(8, sampler=sampler, temperature=temperature, top_p=top_p)
    assert model.trace_count == 1
    for score in ("margin", "entropy", "margin"):
        model.generate(8, steps=2, sampler=samplers.Confidence(score))
    assert model.trace_count == 3


def test_a_float_has_its_effect():
    model = tiny_model()
    few, many = (
        model.generate(64, sampler=samplers.Threshold(p), return_calls=True)[1].mean()
        for p in (0.0, 1.0)
    )
    assert few == 1 and many == 5


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class LeftToRight(samplers.Stepper):
    """Opens one token per call, the first that is masked: a sampler of one's own."""

    absorbing_only = True
    adaptive = True

    def step(self, process, prediction, z_t, s, t, state, keys):
        x = prediction.draw(keys[0])
        is_open = process.is_open(z_t)
        first = ops.cumsum(ops.cast(is_open, "int32"), axis=-1) == 1
        chosen = ops.logical_or(first, ops.expand_dims(s <= 0.0, -1))
        z_s = ops.where(ops.logical_and(is_open, chosen), x, z_t)
        return samplers.Step(z_s, state, ops.logical_not(ops.any(process.is_open(z_s), axis=-1)))


def test_a_sampler_of_ones_own(tmp_path):
    model = tiny_model()
    path = model.generate(6, sampler=LeftToRight(), trajectory=True)
    for i, z in enumerate(path):
        assert (z[:, :i] != 3).all() and (z[:, i:] == 3).all()
    model.sampler = LeftToRight()
    model.save(tmp_path / "model.keras")
    assert isinstance(keras.saving.load_model(tmp_path / "model.keras").sampler, LeftToRight)


def test_a_float_must_be_kept_under_its_own_name():
    """Or another value would be sampled with the first one, which is what was compiled."""

    class Hidden(LeftToRight):
        def get_config(self):
            return {"strength": 0.5}

    with pytest.raises(ValueError, match="Hidden must keep strength under the names of its config"):
        tiny_model().generate(2, sampler=Hidden())


def test_scores_are_those_of_the_network_whatever_the_temperature():
    """At temperature 0 the surest token opens first, and a threshold does not open all."""
    process = kd.MaskedDiffusion(2)
    p = np.array([[0.5, 0.4, 0.9, 0.6]], "float32")
    log_probs = np.log(np.stack([p, 1 - p], axis=-1))
    prediction = samplers.Prediction.of(log_probs, kd.sampling.sharpen(log_probs, 0.0))
    z, s, t = np.full((1, 4), 2, "int32"), np.array([0.75], "float32"), np.array([1.0], "float32")
    for sampler in (samplers.Confidence(), samplers.Threshold(0.8), samplers.EntropyBound(0.1)):
        state = sampler.init(process, z, None)
        z_s = numpy(sampler.step(process, prediction, z, s, t, state, kd.random.split(0, 3)).z)
        np.testing.assert_array_equal(z_s, [[2, 2, 0, 2]])


def test_the_calls_of_a_sampler_on_a_grid_are_the_models_own():
    model = tiny_model()
    model.steps = 2
    for name, expected in (("ancestral", 2), ("confidence", 2), ("threshold", 5)):
        _, calls = model.generate(64, sampler=name, return_calls=True)
        assert 1 < calls.max() <= expected


def test_the_network_is_told_the_time_by_what_is_open():
    """Under a cosine schedule three masks of five are `1 - cos(π t / 2) = 0.6`."""
    process = kd.MaskedDiffusion(3, "cosine")
    sampler = samplers.Threshold()
    state = sampler.init(process, np.full((2, 5), 3, "int32"), None)
    z = np.array([[3, 0, 3, 1, 3], [3, 3, 3, 3, 3]], "int32")
    times = numpy(sampler.time(process, z, np.zeros(2, "float32"), state))
    np.testing.assert_allclose(times, [np.arccos(0.4) * 2 / np.pi, 1.0], atol=1e-5)


@ON_TORCH
def test_students_take_samplers_too():
    model = distiller()
    model.compile()
    model.fit(tokens(32), verbose=0)
    for name in ("entropy_bound", "psi"):
        draws = model.student.generate(4, steps=3, sampler=name)
        assert draws.shape == (4, 5) and draws.max() < 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: samplers.Confidence("luck"), "`score` must be one of"),
        (lambda: samplers.Confidence(randomness=-1), "`randomness` must be a number"),
        (lambda: samplers.Threshold(1.5), r"`threshold` must be a number in \[0, 1\]"),
        (lambda: samplers.Threshold("0.9"), "`threshold` must be a number"),
        (lambda: samplers.EntropyBound(-0.1), "`entropy_bound` must be a number"),
        (lambda: samplers.EntropyBound(float("nan")), "`entropy_bound` must be a number"),
        (lambda: samplers.EntropyBound(stability_threshold=0), "`stability_threshold` must be"),
        (lambda: samplers.Remasking("all"), "`strategy` must be one of"),
        (lambda: samplers.Remasking(eta=2), "`eta` must be a number in"),
        (lambda: samplers.Remasking("loop", loop_start=0.1, loop_end=0.5), "`loop_end` must be"),
        (lambda: samplers.Psi(True), "`kappa` must be a number"),
        (lambda: tiny_model().generate(2, steps=3, sampler="first_hitting"), "steps=3, for 5 tokens"),
        (
            lambda: tiny_model().generate(2, times="cosine", sampler="first_hitting"),
            "leave out `times`",
        ),
        (lambda: tiny_model().generate(2, sampler=3), "`sampler` must be one of"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
