"""What every method does: it trains its student, leaves the teacher, is kept, and goes on."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import ON_TORCH, QUICKLY, small_model, tiny_model, tokens

# Each with settings that are not its defaults, and the logs that are its own.
SDTT = kd.SDTTDistiller, {"steps": 2, "stages": 2, "rounds_per_stage": 2, "divergence": "forward"}
RATIOS = {"student_entropy", "log_ratio_mean", "log_ratio_std"}
METHODS = {
    "SDTT": (*SDTT, {"stage"}),
    "MPDC": (kd.MPDCDistiller, {"steps": 2, "momentum": 0.5}, set()),
    "DiMO": (kd.DiMODistiller, {"beta": -0.2, "critic_steps": 2, "label_smoothing": 0.1}, RATIOS),
    "Di4C": (kd.Di4CDistiller, {"steps": 1, "teacher_steps": 8, "mixture": 2}, {"correlation"}),
    "IDLM": (kd.IDLMDistiller, {"steps": 2, "critic_steps": 2, "samples": 3}, RATIOS),
    "Reinforce": (kd.ReinforceDistiller, {"samples": 3, "critic_steps": 2, "anchor": 0.2}, RATIOS),
}
MASKED_ONLY = ["SDTT", "DiMO"]
BOTH = [name for name in METHODS if name not in MASKED_ONLY]
CASES = [pytest.param(name, kd.MaskedDiffusion(3)) for name in METHODS]
CASES += [pytest.param(name, kd.UniformDiffusion(3), marks=ON_TORCH) for name in BOTH]


def made(name, process=None, teacher=None, **kwargs):
    cls, options, _ = METHODS[name]
    teacher = teacher or tiny_model(process)
    return cls(teacher, **{**options, **kwargs})


def test_every_public_method_is_here():
    public = {getattr(kd, name) for name in dir(kd) if name.endswith("Distiller")}
    assert public == {kd.Distiller, kd.DMMDDistiller, *(cls for cls, *_ in METHODS.values())}


@pytest.mark.parametrize(("name", "process"), CASES, ids=str)
def test_it_trains_and_goes_on_from_a_file(name, process, tmp_path):
    """A saved distiller goes on to the same bits; nothing but its own models has moved."""
    model = made(name, process, seed=5)
    model.compile(**QUICKLY)
    before = [model.teacher.get_weights(), model.student.get_weights()]
    history = model.fit(tokens(24), batch_size=8, shuffle=False, verbose=0).history
    norms = {f"{role}_grad_norm" for role in model.roles}
    losses = {"loss", *(f"{role}_loss" for role in model.roles)}
    assert set(history) == {*losses, *norms, "skipped", *METHODS[name][2]}
    assert all(np.isfinite(values).all() for values in history.values())
    for a, b in zip(before[0], model.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    after = model.student.get_weights()
    assert any((a != b).any() for a, b in zip(before[1], after, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    own = {name: value for name, value in model.get_config().items() if not isinstance(value, dict)}
    assert own == {name: loaded.get_config()[name] for name in own}
    for one in (model, loaded):
        one.fit(tokens(16), batch_size=8, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    samples = loaded.student.generate(4, steps=1, seed=0, verbose=0)
    assert samples.shape == (4, 5) and samples.min() >= 0 and samples.max() <= 2


@pytest.mark.parametrize("name", METHODS)
def test_it_is_evaluated(name):
    model = made(name)
    model.compile(**QUICKLY)
    found = model.evaluate(tokens(8), verbose=0, return_dict=True)
    assert found == model.evaluate(tokens(8), verbose=0, return_dict=True)
    assert set(found) == {"loss", *(f"{role}_loss" for role in model.roles)}


@pytest.mark.parametrize("name", MASKED_ONLY)
def test_what_is_for_masked_diffusion_says_so(name):
    with pytest.raises(ValueError, match="is defined for masked diffusion.*UniformDiffusion"):
        made(name, kd.UniformDiffusion(3))


@pytest.mark.parametrize("name", METHODS)
def test_bad_arguments(name):
    with pytest.raises(ValueError, match="`teacher` must be"):
        METHODS[name][0]("teacher")
    with pytest.raises(ValueError, match="`steps` must be"):
        made(name, steps=0)
    with pytest.raises(ValueError, match="`adapters` must be"):
        made(name, adapters=0)
    teacher = small_model()
    with pytest.raises(ValueError, match="must be different models"):
        made(name, teacher=teacher, student=teacher)


@ON_TORCH
@pytest.mark.parametrize("name", METHODS)
def test_adapters_leave_the_teachers_weights(name):
    model = made(name, teacher=small_model(), adapters=2)
    trained = {v.name for v in model.student.trainable_variables}
    assert {"lora_kernel_a", "lora_kernel_b"} <= {n.rsplit("/", 1)[-1] for n in trained}
    model.compile(**QUICKLY)
    before = model.teacher.get_weights()
    history = model.fit(tokens(24), batch_size=8, verbose=0).history
    assert np.isfinite(history["student_loss"]).all()
    for a, b in zip(before, model.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
