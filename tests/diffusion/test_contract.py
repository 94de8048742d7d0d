"""What a process promises: arguments are checked, configs round-trip, a third process fits one file."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import losses, random
from keras_dmmd.diffusion.process import DiffusionProcess, gather, per_token
from tests.oracles.toy import ToyDenoiser

PROCESSES = {
    "masked": lambda: kd.MaskedDiffusion(5, "cosine"),
    "uniform": lambda: kd.UniformDiffusion(5, kd.schedules.PolynomialSchedule(3.0)),
    "uniform-loo": lambda: kd.UniformDiffusion(5, "log_linear", prediction="loo"),
}
every_process = pytest.mark.parametrize("name", PROCESSES)


def numpy(x):
    return ops.convert_to_numpy(x)


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class FadeToZero(DiffusionProcess):
    """Tokens turn into token 0, which is also a clean token, and stay 0."""

    renoise = "posterior"

    def is_open(self, z_t):
        return ops.equal(z_t, 0)

    def corrupt(self, x, t, seed):
        keep = random.uniform(ops.shape(x), seed) < per_token(self.signal(t).alpha)
        return ops.where(keep, ops.cast(x, "int32"), 0)

    def prior(self, shape, seed):
        return ops.zeros(shape, dtype="int32")

    def posterior(self, x, z_t, s, t):
        x = ops.one_hot(x, self.vocabulary_size) if len(x.shape) == 2 else x
        stay = ops.expand_dims(per_token(self._stay(s, t)), -1)
        zero = ops.one_hot(ops.zeros_like(z_t), self.vocabulary_size)
        known = ops.one_hot(z_t, self.vocabulary_size)
        return ops.where(self.is_open(z_t)[..., None], stay * zero + (1.0 - stay) * x, known)

    def sample_posterior(self, x, z_t, s, t, seed):
        reveal = random.uniform(ops.shape(z_t), seed) >= per_token(self._stay(s, t))
        return ops.where(ops.logical_and(self.is_open(z_t), reveal), ops.cast(x, "int32"), z_t)

    def _stay(self, s, t):
        return (1.0 - self.signal(s).alpha) / (1.0 - self.signal(t).alpha)

    def log_mean(self, logits, z_t, t):
        known = ops.one_hot(z_t, self.vocabulary_size) * 60.0
        return ops.log_softmax(ops.where(self.is_open(z_t)[..., None], logits, known), axis=-1)

    def cost(self, logits, z_t, t):
        return -self.log_mean(logits, z_t, t)

    def nelbo(self, logits, x, z_t, t):
        return self.weight(t) * ops.sum(gather(self.cost(logits, z_t, t), x), axis=-1)


def third_model():
    return kd.DiffusionModel(ToyDenoiser(4, 4, 3, width=8), FadeToZero(4), length=3)


def test_a_third_process_corrupts_and_has_a_loss():
    process, x = FadeToZero(4, "cosine"), np.array([[1, 2, 3], [3, 0, 1]])
    t = np.array([0.2, 0.9], "float32")
    z = process.corrupt(x, t, seed=1)
    assert ((numpy(z) == x) | (numpy(z) == 0)).all()
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    loss = numpy(process.loss(logits, x, z, t))
    np.testing.assert_allclose(loss, numpy(process.nelbo(logits, x, z, t)), rtol=1e-5)


def test_a_third_process_matches_moments():
    process, t = FadeToZero(4), np.array([0.7], "float32")
    z = np.array([[0, 0, 2]])
    logits = np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype("float32")
    student = ops.exp(process.log_mean(logits[0], z, t))
    costs = [process.cost(table, z, t) for table in logits]
    assert np.isfinite(numpy(losses.student_loss(student, *costs))).all()
    # Where the token is known both costs agree: no loss from there.
    np.testing.assert_allclose(numpy(costs[0])[0, 2], numpy(costs[1])[0, 2])


def test_a_third_process_has_a_model_that_measures_and_samples():
    model = third_model()
    nelbo = numpy(model(np.array([[1, 2, 3]])))
    assert nelbo.shape == (1,) and np.isfinite(nelbo).all()
    samples = model.generate(5, steps=2, jit_compile=False)
    assert samples.shape == (5, 3) and samples.min() >= 0 and samples.max() < 4


def test_a_third_process_says_how_it_is_distilled():
    assert kd.DMMDDistiller(third_model()).renoise == "posterior"
    assert kd.DMMDDistiller(third_model(), renoise="forward").renoise == "forward"


def test_a_third_process_is_saved_with_its_model(tmp_path):
    model = third_model()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.process) is FadeToZero and again.process.vocabulary_size == 4


@every_process
def test_config_round_trip(name):
    process = PROCESSES[name]()
    again = type(process).from_config(process.get_config())
    assert again.get_config() == process.get_config() and repr(again) == repr(process)


@every_process
def test_serialisation_round_trip(name):
    process = PROCESSES[name]()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(process))
    assert type(again) is type(process) and again.get_config() == process.get_config()
    t = np.array([0.3], "float32")
    np.testing.assert_array_equal(numpy(again.signal(t).alpha), numpy(process.signal(t).alpha))


def test_states():
    masked, uniform = PROCESSES["masked"](), PROCESSES["uniform"]()
    assert (masked.num_states, masked.mask_id, uniform.num_states) == (6, 5, 5)
    assert masked.needs_noise and masked.soft_target
    assert not uniform.needs_noise and not uniform.soft_target


def test_open_tokens():
    z = np.array([[0, 5, 2]])
    np.testing.assert_array_equal(numpy(PROCESSES["masked"]().is_open(z)), [[False, True, False]])
    assert numpy(PROCESSES["uniform"]().is_open(np.array([[0, 1, 2]]))).all()


@pytest.mark.parametrize("process", [kd.MaskedDiffusion, kd.UniformDiffusion])
@pytest.mark.parametrize("size", [1, 0, -3, 4.0, "4", None, True])
def test_vocabulary_size_must_be_an_integer_of_at_least_2(process, size):
    with pytest.raises(ValueError, match="`vocabulary_size`"):
        process(size)


def test_prediction_must_be_known():
    with pytest.raises(ValueError, match="`prediction`.*'loo'"):
        kd.UniformDiffusion(5, prediction="score")


@every_process
def test_schedule_must_be_known(name):
    with pytest.raises(ValueError, match="`schedule`"):
        type(PROCESSES[name]())(5, schedule="exponential")


@pytest.mark.parametrize("method", ["corrupt", "prior", "posterior", "cost", "nelbo"])
def test_the_base_class_leaves_the_mathematics_open(method):
    process = DiffusionProcess(5)
    arguments = {"prior": 2, "corrupt": 3, "posterior": 4, "nelbo": 4}.get(method, 3)
    with pytest.raises(NotImplementedError):
        getattr(process, method)(*[None] * arguments)
