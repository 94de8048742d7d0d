"""`recipe="paper"`: D-MMD as it was published, and nothing beside it."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import ON_TORCH, QUICKLY, small_model, tokens

OURS = {"times": "random", "renoise": "posterior", "teacher_weight": 0.0, "time_weighting": "constant"}
OURS |= {"max_log_ratio": 3.0, "student_temperature": 2.0}
PAPERS = {"times": "random", "renoise": "posterior", "teacher_weight": 1.0, "time_weighting": "nelbo"}
PAPERS |= {"max_log_ratio": None, "student_temperature": 1.0}


def distiller(process=None, steps=2, **kwargs):
    return kd.DMMDDistiller(small_model(process), steps=steps, **kwargs)


def settings(model):
    return {name: getattr(model, name) for name in OURS}


def noise_of(model):
    layer = model.student.denoiser.noise
    return None if layer is None else type(layer).__name__


def test_settings_of_both():
    assert settings(distiller()) == OURS
    assert settings(distiller(recipe="paper")) == PAPERS
    # In uniform diffusion, where our default is another renoising, too.
    uniform = distiller(kd.UniformDiffusion(3), recipe="paper")
    assert settings(uniform) == PAPERS and noise_of(uniform) is None


def test_a_uniform_student_of_few_calls_is_asked_where_it_is_called():
    """At `t = 1` and `t = 1/2` alone, unless the recipe or the caller says otherwise."""

    def times(process=None, **kwargs):
        return distiller(process or kd.UniformDiffusion(3), **kwargs).times

    assert times(steps=1) == times(steps=2) == "grid"
    for other in ({"steps": 3}, {"steps": (1, 2)}, {"times": "random"}, {"recipe": "paper"}):
        assert times(**{"steps": 1, **other}) == "random"
    assert times(kd.MaskedDiffusion(3), steps=1) == "random"
    assert kd.ReinforceDistiller(small_model(kd.UniformDiffusion(3)), steps=2).times == "grid"


def test_a_masked_student_of_few_words_has_a_temperature():
    assert distiller(steps=(1, 8)).student_temperature == 2.0
    others = small_model(kd.MaskedDiffusion(257)), small_model(kd.UniformDiffusion(3))
    assert [kd.DMMDDistiller(teacher).student_temperature for teacher in others] == [1.0] * 2
    assert distiller(kd.UniformDiffusion(3), student_temperature=2).student_temperature == 2.0


def test_the_papers_random_inputs():
    images = small_model(grid=(1, 5))
    assert noise_of(kd.DMMDDistiller(images, recipe="paper")) == "PyramidNoise"
    assert noise_of(distiller(recipe="paper")) == "GaussianNoise"
    assert noise_of(kd.DMMDDistiller(images, recipe="paper", noise=None)) is None


@ON_TORCH
def test_it_trains_and_is_kept(tmp_path):
    model = distiller(recipe="paper")
    model.compile(**QUICKLY)
    history = model.fit(tokens(16), batch_size=8, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    model.save(tmp_path / "paper.keras")
    loaded = keras.saving.load_model(tmp_path / "paper.keras")
    assert loaded.recipe == "paper" and settings(loaded) == PAPERS


@pytest.mark.parametrize(
    "given",
    [
        {"times": "grid"},
        {"renoise": "forward"},
        {"teacher_weight": 0.0},
        {"teacher_weight": True},
        {"time_weighting": "constant"},
        {"max_log_ratio": 3.0},
    ],
    ids=str,
)
def test_what_contradicts_the_paper_is_refused(given):
    (name,) = given
    with pytest.raises(ValueError, match=f'`recipe="paper"` has {name}=.*leave `{name}` out'):
        distiller(recipe="paper", **given)


def test_what_agrees_is_taken():
    assert settings(distiller(recipe="paper", teacher_weight=1, max_log_ratio=None)) == PAPERS
    with pytest.raises(ValueError, match="`recipe` must be one of"):
        distiller(recipe="papers")
