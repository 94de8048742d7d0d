"""Arguments are checked, configs round-trip, and the traits say what they promise."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import distiller, numpy, tiny_model

PROCESSES = {
    "masked": lambda: kd.MaskedDiffusion(5, "cosine"),
    "uniform": lambda: kd.UniformDiffusion(5, kd.schedules.PolynomialSchedule(3.0)),
    "uniform-loo": lambda: kd.UniformDiffusion(5, "log_linear", prediction="loo"),
    "hybrid": lambda: kd.HybridDiffusion(5, "cosine", 0.3, 0.1, prediction="loo"),
}
every_process = pytest.mark.parametrize("name", PROCESSES)


@every_process
def test_serialisation_round_trip(name):
    process = PROCESSES[name]()
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(process))
    assert type(again) is type(process) and again.get_config() == process.get_config()
    t = np.array([0.3], "float32")
    np.testing.assert_array_equal(numpy(again.signal(t).alpha), numpy(process.signal(t).alpha))


def test_states():
    masked, uniform, hybrid = (PROCESSES[name]() for name in ("masked", "uniform", "hybrid"))
    assert (masked.num_states, masked.mask_id, uniform.num_states) == (6, 5, 5)
    assert (hybrid.num_states, hybrid.mask_id) == (6, 5)
    assert [p.absorbing for p in (masked, uniform, hybrid)] == [True, False, False]
    assert masked.constant_prior and not uniform.constant_prior and not hybrid.constant_prior
    assert kd.HybridDiffusion(5).constant_prior


def test_what_a_distiller_makes_of_them():
    """Students that start from a constant need a random input; only open tokens hide `z_t`."""
    masked, uniform, hybrid = (
        distiller(process) for process in (None, kd.UniformDiffusion(3), kd.HybridDiffusion(3))
    )
    assert [d.renoise for d in (masked, uniform, hybrid)] == ["posterior", "mixed", "mixed"]
    noise = [d.student.capabilities.noise for d in (masked, uniform, hybrid)]
    assert noise == [True, False, True]


def test_open_tokens():
    z = np.array([[0, 5, 2]])
    np.testing.assert_array_equal(numpy(PROCESSES["masked"]().is_open(z)), [[False, True, False]])
    assert numpy(PROCESSES["uniform"]().is_open(np.array([[0, 1, 2]]))).all()


def test_hybrid_contains_both_others():
    """Their posteriors, and their bounds, are its own at the ends of its shares."""
    rng = np.random.default_rng(0)
    s, t = np.array([0.2, 0.5], "float32"), np.array([0.6, 0.7], "float32")
    x, logits = rng.integers(3, size=(2, 4)), rng.normal(size=(2, 4, 3)).astype("float32")
    for share, other in ((0.0, kd.MaskedDiffusion(3)), (1.0, kd.UniformDiffusion(3, prediction="loo"))):
        hybrid = kd.HybridDiffusion(3, "linear", share, share, prediction="loo")
        z = numpy(other.corrupt(x, t, 0))
        states = other.num_states
        found = numpy(hybrid.posterior(x, z, s, t))[..., :states]
        np.testing.assert_allclose(found, numpy(other.posterior(x, z, s, t)), atol=1e-6)
        bound = numpy(other.nelbo(logits, x, z, t))
        np.testing.assert_allclose(numpy(hybrid.nelbo(logits, x, z, t)), bound, rtol=1e-4, atol=1e-4)


def test_a_hybrid_without_random_tokens_leaves_no_mask():
    """Also where a network draws a token that cannot have become the one it sees."""
    hybrid = kd.HybridDiffusion(3, "linear", 0.0, 0.0)
    x, z = np.array([[1, 1, 0]]), np.array([[2, 3, 0]])
    s, t = np.zeros(1, "float32"), np.full(1, 0.5, "float32")
    np.testing.assert_array_equal(numpy(hybrid.sample_posterior(x, z, s, t, 0)), [[2, 1, 0]])
    np.testing.assert_allclose(numpy(hybrid.posterior(x, z, s, t)).argmax(-1), [[2, 1, 0]])


def test_the_two_weights_are_two():
    """Of plain cross-entropy one is 1, and the bound's is not."""
    t = np.array([0.25, 0.5], "float32")
    uniform = kd.UniformDiffusion(3)
    np.testing.assert_allclose(numpy(uniform.loss_weight(t)), [1, 1])
    np.testing.assert_allclose(numpy(uniform.nelbo_weight(t)), [4 / 3, 2], rtol=1e-6)
    x = np.zeros((64, 5), "int32")
    losses = []
    for weighting in ("constant", "nelbo"):
        model = kd.DMMDDistiller(tiny_model(uniform), steps=2, time_weighting=weighting)
        losses.append(model.predict(x, verbose=0)["critic_loss"])
    assert np.abs(losses[0] - losses[1]).max() > 0.1


@pytest.mark.parametrize("process", [kd.MaskedDiffusion, kd.UniformDiffusion, kd.HybridDiffusion])
@pytest.mark.parametrize("size", [1, 0, -3, 4.0, "4", None, True])
def test_vocabulary_size_must_be_an_integer_of_at_least_2(process, size):
    with pytest.raises(ValueError, match="`vocabulary_size`"):
        process(size)


def test_prediction_must_be_known():
    with pytest.raises(ValueError, match="`prediction`.*'loo'"):
        kd.UniformDiffusion(5, prediction="score")


@pytest.mark.parametrize("share", [-0.1, 1.5, "half", None, True])
@pytest.mark.parametrize("name", ["uniform_share", "final_uniform_share"])
def test_shares_lie_between_0_and_1(name, share):
    with pytest.raises(ValueError, match=f"`{name}` must be a number"):
        kd.HybridDiffusion(5, **{name: share})


@every_process
def test_schedule_must_be_known(name):
    with pytest.raises(ValueError, match="`schedule`"):
        type(PROCESSES[name]())(5, schedule="exponential")


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="noise"):
        kd.DiffusionProcess(5)


@keras.saving.register_keras_serializable("keras_dmmd_tests")
def square_root(t):
    """A schedule that is a plain function."""
    root = (1.0 - t) ** 0.5
    return kd.schedules.SignalLevel(root, -0.5 / keras.ops.maximum(root, 1e-3))


def test_a_function_is_a_schedule(tmp_path):
    """It trains, is distilled, and comes back from a file; two different ones do not match."""
    process = kd.MaskedDiffusion(3, square_root)
    teacher = tiny_model(process)
    model = kd.DMMDDistiller(teacher, steps=2)
    model.compile()
    model.fit(np.zeros((32, 5), "int32"), verbose=0)
    model.student.save(tmp_path / "student.keras")
    student = keras.saving.load_model(tmp_path / "student.keras")
    assert student.process.get_config() == process.get_config()
    assert "square_root" in repr(process)
    with pytest.raises(ValueError, match="differ in schedule"):
        kd.DMMDDistiller(teacher, student=tiny_model(kd.MaskedDiffusion(3)))


def test_a_process_shows_what_tells_it_from_another():
    one, other = (repr(kd.HybridDiffusion(5, uniform_share=share)) for share in (0.2, 0.9))
    assert "0.2" in one and "0.9" in other
    schedule = kd.schedules.PolynomialSchedule(power=3.0)
    assert "PolynomialSchedule(power=3.0)" in repr(kd.MaskedDiffusion(5, schedule=schedule))


def test_processes_are_equal_in_every_parameter():
    teacher = tiny_model(kd.HybridDiffusion(3, uniform_share=0.5))
    other = tiny_model(kd.HybridDiffusion(3, uniform_share=0.25))
    with pytest.raises(ValueError, match="differ in uniform_share"):
        kd.DMMDDistiller(teacher, critic=other)
