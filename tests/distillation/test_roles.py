"""The contract of a distiller: roles, their optimizers and logs; one without a critic."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.tensors import entropies, mean_where
from keras_dmmd.training.corruption import batch_size_of, corrupt_batch
from tests.builders import exact_model, randomise, small_model, tokens


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class Imitation(kd.Distiller):
    """The student's prediction follows its teacher's by their KL; there is no critic."""

    roles = ("student",)
    statistics = ("teacher_entropy",)

    def role_losses(self, role, inputs, key):
        time_key, key = kd.random.split(key, 2)
        t = self.process.training_times(batch_size_of(inputs), time_key)
        batch = corrupt_batch(self.teacher, inputs, t, key)
        z_t, told = batch.z_t, batch.conditions
        wanted = ops.stop_gradient(self.process.log_mean(self.teacher.logits(z_t, t, told), z_t, t))
        is_open = self.process.is_open(z_t)
        found = ops.log_softmax(self.student.logits(z_t, t, told), axis=-1)
        kl = ops.sum(ops.exp(wanted) * (ops.maximum(wanted, -1e4) - found), axis=-1)
        values = ops.sum(ops.where(is_open, kl, 0.0), axis=-1) / z_t.shape[1]
        return values, {"teacher_entropy": mean_where(is_open, entropies(wanted))}

    def default_optimizer(self, role):
        return keras.optimizers.Adam(1e-2)


def imitation(cls=Imitation):
    return cls(exact_model(seed=0), small_model())


def test_a_distiller_without_a_critic():
    model = imitation()
    model.compile()
    x = tokens(512)
    before = model.evaluate(x, verbose=0, return_dict=True)
    assert set(before) == {"loss", "student_loss"}
    history = model.fit(x, epochs=20, batch_size=64, validation_data=x, verbose=0).history
    assert set(history) == {
        *("loss", "student_loss", "teacher_entropy", "student_grad_norm", "skipped"),
        *("val_loss", "val_student_loss"),
    }
    assert history["val_student_loss"][-1] < 0.85 * before["student_loss"]
    assert len(model.optimizer.optimizers) == 1
    assert set(model.predict(x[:8], verbose=0)) == {"student_loss"}
    with pytest.raises(
        ValueError, match="Imitation is compiled with student_optimizer.*critic_optimizer"
    ):
        model.compile(critic_optimizer="adam")


def test_weights_of_examples_count_alike_in_all_losses():
    """They are summed, then divided by the batch, in evaluation as in training."""
    model = imitation()
    model.compile()
    x, weights = tokens(24), np.full(24, 0.5, "float32")
    whole, half = (
        model.evaluate(x, sample_weight=own, batch_size=16, verbose=0, return_dict=True)
        for own in (None, weights)
    )
    assert half == pytest.approx({name: 0.5 * value for name, value in whole.items()}, rel=1e-5)


def test_it_is_saved_and_goes_on(tmp_path):
    model = imitation()
    model.compile(student_optimizer=keras.optimizers.Adam(1e-3))
    model.fit(tokens(), verbose=0)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.critic is None and loaded.roles == ("student",)
    for each in (model, loaded):
        each.fit(tokens(), shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_end_of_a_round_is_in_the_step():
    """A hook that makes the teacher's weights half of themselves, by plain assignments."""

    class Halving(Imitation):
        def end_round(self):
            for weight in self.teacher.denoiser.weights:
                weight.assign(0.5 * weight)

    teacher = randomise(small_model())
    before = teacher.get_weights()
    model = Halving(teacher, small_model())
    model.compile()
    model.fit(tokens(64), batch_size=32, verbose=0)  # two rounds
    for a, b in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_allclose(a / 4, b, rtol=1e-6)


def test_roles_take_turns_as_often_as_they_are_told():
    class Pair(Imitation):
        """Two roles of one kind: the critic's place is taken by a second student."""

        roles = ("critic", "student")

        def updates(self, role):
            return 3 if role == "critic" else 1

    model = Pair(exact_model(seed=0), small_model(), small_model())
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
    model.fit(tokens(64), batch_size=32, verbose=0)
    assert [int(optimizer.iterations) for optimizer in model.optimizer.optimizers] == [6, 2]
    assert int(model.optimizer.iterations) == 2


def test_a_statistic_that_is_not_named_is_an_error():
    class Loud(Imitation):
        statistics = ()

    model = imitation(Loud)
    model.compile()
    with pytest.raises(ValueError, match="Loud reports 'teacher_entropy': name it in `statistics`"):
        model.fit(tokens(), verbose=0)


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class Twins(Imitation):
    """A second student in a role of its own."""

    roles = ("twin", "student")
    statistics = ()

    def role_losses(self, role, inputs, key):
        t = self.process.training_times(batch_size_of(inputs), key)
        batch = corrupt_batch(self.teacher, inputs, t, key)
        logits = self.model_of(role).logits(batch.z_t, t, batch.conditions)
        return self.process.loss(logits, batch.tokens, batch.z_t, t), {}


def test_a_role_of_ones_own(tmp_path):
    model = Twins(small_model(), small_model(), twin=small_model())
    model.compile(twin_optimizer="sgd")
    before = model.twin.get_weights()
    history = model.fit(tokens(), verbose=0).history
    assert {"twin_loss", "student_loss", "twin_grad_norm"} <= set(history)
    assert any((a != b).any() for a, b in zip(before, model.twin.get_weights(), strict=True))
    model.save(tmp_path / "twins.keras")
    loaded = keras.saving.load_model(tmp_path / "twins.keras")
    for a, b in zip(model.twin.get_weights(), loaded.twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
