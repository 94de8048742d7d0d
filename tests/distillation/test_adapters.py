"""Distillation with adapters: one frozen network that teacher, student and critic share."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import ON_TORCH, QUICKLY, SMALL, numpy, randomise, small_model, tokens

RANK = 2


def make(int8=False, noise="gaussian", **kwargs):
    teacher = randomise(small_model(**kwargs))
    if int8:
        teacher.quantize("int8")
    return kd.DMMDDistiller(teacher, steps=2, noise=noise, adapters=RANK)


def logits(model):
    z, t = np.array([[0, 3, 1, 3, 2], [3, 3, 3, 3, 3]]), np.array([0.3, 0.9], "float32")
    return numpy(model.logits(z, t, seed=3))


def ids(variables):
    return {id(v) for v in variables}


def same(model, other):
    for a, b in zip(model, other, strict=True):
        np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=a.path)


@pytest.mark.parametrize("int8", [False, True])
def test_three_networks_share_one(int8):
    distiller = make(int8)
    teacher, student, critic = distiller.teacher, distiller.student, distiller.critic
    for model in (student, critic):
        np.testing.assert_array_equal(logits(model), logits(teacher))
        assert ids(teacher.weights) < ids(model.weights)
        own = [v for v in model.weights if id(v) not in ids(teacher.weights)]
        assert ids(own) == ids(model.trainable_variables)
        trained = {"/".join(v.path.split("/")[-2:]) for v in own}
        expected = {"project/kernel"} if model is student else set()
        for layer in (
            "qkv",
            "attention_out",
            "mlp_in",
            "mlp_out",
            "modulation",
            "hidden",
            "out",
            "head",
        ):
            expected |= {f"{layer}/lora_kernel_{part}" for part in "ab"}
        assert trained == expected
    assert ids(student.weights) & ids(critic.weights) == ids(teacher.weights)
    paths = [v.path for v in distiller.variables]
    assert len(distiller.variables) == len(ids(distiller.variables)), paths


def test_bytes_of_weights_and_optimizers():
    """Each weight once; what is trained also has its moments and, in the student, its average."""
    distiller = make()
    distiller.compile(
        student_optimizer=keras.optimizers.Adam(use_ema=True), critic_optimizer=keras.optimizers.Adam()
    )
    h, c, k, r = SMALL["hidden_dim"], SMALL["cond_dim"], 3, RANK
    shapes = [
        (h, 3 * h),
        (h, h),
        (h, 4 * h),
        (4 * h, h),
        (c, 6 * h),
        (c, 2 * h),
        (128, c),
        (c, c),
        (h, k),
    ]
    adapters = sum(min(r, *shape) * sum(shape) for shape in shapes)
    noise = 16 * h
    frozen = sum(int(np.prod(v.shape)) for v in distiller.teacher.weights)
    assert sum(int(np.prod(v.shape)) for v in distiller.weights) == frozen + 2 * adapters + noise
    optimizer = [v for v in distiller.optimizer.variables if len(v.shape)]
    assert not ids(optimizer) & ids(distiller.weights)
    assert sum(int(np.prod(v.shape)) for v in optimizer) == 3 * (adapters + noise) + 2 * adapters


def test_what_is_shared_stays_and_the_run_goes_on(tmp_path):
    distiller = make()
    teacher, student = distiller.teacher, distiller.student
    before, start = [numpy(v) for v in teacher.weights], logits(student)
    distiller.compile(**QUICKLY)
    distiller.fit(tokens(), batch_size=16, verbose=0)
    same(teacher.weights, before)
    assert np.abs(logits(student) - start).max() > 1e-3
    for model in (student, distiller.critic):
        assert all(numpy(v).any() for v in model.trainable_variables)

    distiller.save(tmp_path / "distiller.keras")
    distiller.save_weights(tmp_path / "distiller.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert len(loaded.variables) == len(distiller.variables)  # they share, too
    assert ids(loaded.teacher.weights) < ids(loaded.student.weights)
    distiller.fit(tokens(), batch_size=16, shuffle=False, verbose=0)
    loaded.fit(tokens(), batch_size=16, shuffle=False, verbose=0)
    same(loaded.variables, distiller.variables)
    same(loaded.optimizer.variables, distiller.optimizer.variables)
    loaded.load_weights(tmp_path / "distiller.weights.h5")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    same(loaded.variables, again.variables)
    same(loaded.optimizer.variables, again.optimizer.variables)


def test_a_student_stands_alone(tmp_path):
    """Its files are whole, and merged it is a plain model with the same predictions."""
    distiller = make()
    student = distiller.student
    for variable in student.trainable_variables:
        variable.assign(np.random.default_rng(len(variable.path)).normal(size=variable.shape) * 0.2)
    student.save(tmp_path / "student.keras")
    kd.presets.save_to_preset(student, tmp_path / "student", dtype="float32")
    plain = student.merged()
    plain.save_to_preset(tmp_path / "plain")
    for model in (
        keras.saving.load_model(tmp_path / "student.keras"),
        kd.from_preset(tmp_path / "student"),
    ):
        same(model.weights, student.weights)
        np.testing.assert_array_equal(logits(model), logits(student))
        assert len(model.trainable_variables) == len(student.trainable_variables)
    np.testing.assert_allclose(logits(plain), logits(student), atol=1e-5)
    assert np.abs(logits(student) - logits(distiller.teacher)).max() > 0.1
    loaded = kd.from_preset(tmp_path / "plain")
    assert not any("lora" in v.path for v in loaded.weights)
    np.testing.assert_allclose(logits(loaded), logits(student), atol=0.1)
    assert loaded.generate(2, seed=1).shape == (2, 5) and loaded.steps == 2


def test_an_integer_teacher_has_students_of_floats():
    """All of which are trained; the teacher keeps its integers."""
    teacher = randomise(small_model())
    teacher.quantize("int8")
    distiller = kd.DMMDDistiller(teacher, steps=2, noise="gaussian")
    assert teacher.is_quantized and not distiller.student.is_quantized
    assert len(distiller.student.trainable_variables) == len(distiller.student.weights)
    plain = teacher.merged()
    np.testing.assert_array_equal(logits(distiller.student), logits(plain))
    np.testing.assert_array_equal(logits(distiller.critic), logits(plain))


def test_a_teacher_with_adapters_has_students_with_adapters():
    teacher = randomise(small_model())
    teacher.enable_lora(RANK)
    for variable in teacher.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape) * 0.2)
    distiller = kd.DMMDDistiller(teacher, steps=2, noise="gaussian")
    student = distiller.student
    np.testing.assert_array_equal(logits(student), logits(teacher))
    names = {v.path.split("/")[-2] + "/" + v.path.split("/")[-1] for v in student.trainable_variables}
    assert all(name == "project/kernel" or "lora_kernel" in name for name in names)
    assert not ids(student.weights) & ids(teacher.weights)
    sharing = kd.DMMDDistiller(
        teacher, steps=2, noise="gaussian", adapters=RANK
    )  # from where the teacher's are
    np.testing.assert_array_equal(logits(sharing.student), logits(teacher))
    shared = ids(sharing.student.weights) & ids(teacher.weights)
    assert shared == {id(v) for v in teacher.weights if "lora" not in v.path}
    with pytest.raises(ValueError, match="rank 2 already, not of 3: merge it first"):
        kd.DMMDDistiller(teacher, steps=2, adapters=3)


def test_a_refused_rank_changes_nothing():
    teacher = small_model()
    for rank in (0, 1.5, "two"):
        with pytest.raises(ValueError, match="`adapters` must be an integer"):
            kd.DMMDDistiller(teacher, steps=2, adapters=rank)
    with pytest.raises(ValueError, match="a given student and critic have their own"):
        kd.DMMDDistiller(teacher, small_model(), small_model(), adapters=2)
    assert len(teacher.trainable_variables) == len(teacher.weights)
    teacher.compile("sgd")
    kd.DMMDDistiller(teacher, steps=2, adapters=2)
    with pytest.raises(ValueError, match="All weights of this DiffusionModel are frozen"):
        teacher.fit(tokens(8), verbose=0)


@ON_TORCH
def test_integers_with_adapters_resume_exactly(tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                raise KeyboardInterrupt

    def train(folder, *callbacks):
        keras.utils.set_random_seed(0)
        distiller = make(int8=True)
        distiller.compile(run_eagerly=True)
        backup = kd.callbacks.BackupAndResume(tmp_path / folder, save_freq=3)
        distiller.fit(tokens(48), batch_size=8, verbose=0, callbacks=[backup, *callbacks])
        return distiller.get_weights()

    wanted = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("broken", Break())
    for own, value in zip(train("broken"), wanted, strict=True):
        np.testing.assert_array_equal(own, value)
