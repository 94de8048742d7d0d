"""One student for several numbers of calls: it is told how far a step goes."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.builders import key, numpy, randomise, small_model, tokens


def told(model, monkeypatch):
    """A list that a model's network puts down what `step_size` it is told."""
    found = []
    original = type(model.denoiser).condition

    def condition(self, t, labels=None, step_size=None):
        if step_size is not None:
            found.append(numpy(step_size))
        return original(self, t, labels, step_size)

    monkeypatch.setattr(type(model.denoiser), "condition", condition)
    return found


def test_a_copy_that_is_told_is_the_same_at_first():
    teacher = randomise(small_model())
    copy = teacher.copy(step_conditioning=True)
    z, t = np.array([[3, 0, 3, 2, 3]]), np.array([0.6], "float32")
    wanted = numpy(teacher.denoiser(z, t))
    for size in (1.0, 0.25):
        np.testing.assert_allclose(
            numpy(copy.denoiser(z, t, step_size=np.array([size], "float32"))), wanted, atol=1e-6
        )
    randomise(copy.capabilities.step_layer)
    one, other = (
        numpy(copy.denoiser(z, t, step_size=np.array([size], "float32"))) for size in (1.0, 0.25)
    )
    assert np.abs(one - other).max() > 1e-3
    again = copy.copy()  # which keeps what it was told, and how
    np.testing.assert_allclose(
        numpy(again.denoiser(z, t, step_size=np.array([0.25], "float32"))), other, atol=1e-6
    )
    assert not teacher.copy().capabilities.step_conditioning
    with pytest.raises(ValueError, match="takes no `step_size`"):
        teacher.denoiser(z, t, step_size=t)


def test_sampling_tells_the_size_of_the_step(monkeypatch):
    model = randomise(small_model(step_conditioning=True))
    if keras.backend.backend() == "torch":  # elsewhere the step is traced, once
        found = told(model, monkeypatch)
        model.generate(2, steps=4)
        np.testing.assert_allclose(found, 0.25)
        found.clear()
        model.generate(2, times=[1, 0.5, 0.4, 0])
        np.testing.assert_allclose(found, [[0.5, 0.5], [0.1, 0.1], [0.4, 0.4]], atol=1e-6)
    randomise(model.capabilities.step_layer, scale=3.0)
    coarse = model.generate(50, times=[1, 0.5, 0], seed=3)
    fine = model.generate(50, times=[1, 0.5, 0.4, 0.3, 0.2, 0.1, 0], seed=3)
    assert (coarse != fine).any()


def test_every_example_has_a_number_of_calls_of_its_own(monkeypatch):
    distiller = kd.DMMDDistiller(small_model(), steps=(2, 32))
    assert distiller.student.steps == 8 and distiller.steps == (2, 32)
    found = told(distiller.student, monkeypatch)
    draw = distiller.draw(tokens(4000), key())
    (sizes,) = found
    calls = np.rint(1 / sizes)
    np.testing.assert_allclose(sizes, 1 / calls, rtol=1e-6)
    k = np.arange(2, 33)
    expected = 4000 * np.log((k + 1) / k) / np.log(33 / 2)
    counted = np.array([(calls == count).sum() for count in k])
    assert counted.sum() == 4000
    # χ² of 30 degrees of freedom exceeds 59.7 once in a thousand.
    assert ((counted - expected) ** 2 / expected).sum() < 59.7
    masked = numpy(draw.z_t) == 3
    assert masked.any() and (numpy(draw.s) <= 1).all()


def test_a_student_that_is_told_goes_on_for_one_number_of_calls(monkeypatch):
    """It is told that number, as it will be when it samples; teacher and critic need not be."""
    student = small_model(step_conditioning=True)
    distiller = kd.DMMDDistiller(small_model(), student, steps=4)
    assert not distiller.critic.capabilities.step_conditioning
    found = told(student, monkeypatch)
    distiller.role_losses("student", tokens(6), key())
    np.testing.assert_array_equal(found, np.full((1, 6), 0.25, "float32"))


def test_it_trains_saves_and_goes_on(tmp_path):
    distiller = kd.DMMDDistiller(small_model(), steps=(1, 4), seed=3)
    distiller.compile()
    distiller.fit(tokens(64), batch_size=16, verbose=0)
    moved = distiller.student.capabilities.step_layer.project.kernel
    assert np.abs(numpy(moved)).max() > 0
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.steps == (1, 4)
    for one, other in zip(distiller.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))
    kd.presets.save_to_preset(distiller.student, tmp_path / "student", dtype="float32")
    student = kd.from_preset(tmp_path / "student")
    for steps in (1, 3):
        np.testing.assert_array_equal(
            student.generate(5, steps=steps, seed=1),
            distiller.student.generate(5, steps=steps, seed=1),
        )


def test_adapters_leave_the_new_layer_trainable():
    distiller = kd.DMMDDistiller(small_model(), steps=(1, 4), adapters=2)
    names = {v.path for v in distiller.student.trainable_variables}
    assert any("step_embedding" in name for name in names)
    assert not ops.any(distiller.student.capabilities.step_layer.project.kernel != 0)


@pytest.mark.parametrize("steps", [(4, 4), (4, 2), (1, 2, 3), (0, 4), (1.5, 4), "ab", [], (1, 10**9)])
def test_bad_steps(steps):
    with pytest.raises(ValueError, match="`steps` must be"):
        kd.DMMDDistiller(small_model(), steps=steps)


def test_a_given_student_must_be_told():
    teacher = small_model()
    with pytest.raises(ValueError, match="the student must be told how far a step goes"):
        kd.DMMDDistiller(teacher, teacher.copy(), steps=(1, 4))
    own = teacher.copy(step_conditioning=True)
    with pytest.raises(ValueError, match="the critic must be told how far a step goes"):
        kd.DMMDDistiller(teacher, own, teacher.copy(), steps=(1, 4))
    made = kd.DMMDDistiller(teacher, own, steps=(1, 4))
    assert made.critic.capabilities.step_conditioning


def test_student_and_critic_are_told_and_the_teacher_is_not(monkeypatch):
    teacher = small_model(step_conditioning=True)
    distiller = kd.DMMDDistiller(teacher, steps=(2, 32))
    found = told(teacher, monkeypatch)  # by any network of this class
    draw = distiller.draw(tokens(8), key())
    assert len(found) == 1
    distiller.teacher_logits(draw)
    assert len(found) == 1
    distiller.critic.logits(draw.z_s, draw.s, draw.conditions)
    np.testing.assert_array_equal(found[0], found[1])
