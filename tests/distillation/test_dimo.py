"""Di[M]O: its loss against float64 numpy, and where it is D-MMD."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend
from keras_dmmd.losses import jeffreys_loss
from tests.builders import gradients, key, numpy, randomise, tiny_model, tokens


def divergence(teacher, logits, beta):
    """`(1 - β) KL(θ ‖ φ) + β KL(φ ‖ θ)` of φ = softmax(logits), float64, `(batch, length)`."""
    critic = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    forward = (teacher * np.log(teacher / critic)).sum(-1)
    return (1 - beta) * forward + beta * (critic * np.log(critic / teacher)).sum(-1)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.2, 0.5])
def test_its_gradient_is_the_slope_of_the_divergence_by_the_critics_logits(beta):
    """By central differences in float64; the student's own logits are any others."""
    rng = np.random.default_rng(0)
    teacher = rng.dirichlet(np.ones(4), size=(2, 3))
    logits, own = rng.normal(size=(2, 2, 3, 4))
    step, slopes = 1e-6, np.empty_like(logits)
    for k in range(4):
        move = step * np.eye(4)[k]
        up, down = (divergence(teacher, logits + sign * move, beta) for sign in (1, -1))
        slopes[..., k] = (up - down) / (2 * step)
    critic = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def loss(own):
        others = [ops.convert_to_tensor(x.astype("float32")) for x in (np.log(teacher), critic)]
        return jeffreys_loss(own, *others, beta)

    own = own.astype("float32")
    np.testing.assert_allclose(gradients(loss, own)[0], slopes, rtol=1e-4, atol=1e-5)
    expected = divergence(teacher, logits, beta).sum(-1)
    np.testing.assert_allclose(numpy(loss(ops.convert_to_tensor(own))), expected, rtol=1e-5)


class Marginals(keras.layers.Layer):
    """The same prediction whatever it sees: a table of logits over 5 positions and 3 tokens."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = self.add_weight(name="table", shape=(5, 3), initializer="zeros")
        self.built = True

    def call(self, z_t, t):
        return ops.zeros_like(z_t, dtype="float32")[..., None] + self.table


class FromMasks(kd.DMMDDistiller):
    """D-MMD of one call whose `t` is 1, as in Di[M]O."""

    draw_times = kd.DiMODistiller.draw_times


def test_it_is_d_mmd_of_one_call():
    """Under the papers' conditions: β = 1, all masks at first, a critic at its optimum.

    A student without a random input has one prediction for all masks, and draws tokens apart: what the
    best critic says of a mask is that same prediction. Both renoisings agree at `t = 1`.
    """
    process = kd.MaskedDiffusion(3)
    teacher = randomise(tiny_model(), seed=1)
    table = np.random.default_rng(0).normal(size=(5, 3))
    student, critic = (kd.DiffusionModel(Marginals(), process, length=5) for _ in range(2))
    for model in (student, critic):
        model.denoiser.table.assign(table)
    dimo = kd.DiMODistiller(teacher, student, critic, beta=1.0)
    published = {"max_log_ratio": None, "student_temperature": 1}
    dmmd = FromMasks(teacher, student, critic, steps=1, renoise="forward", **published)
    variables = student.trainable_variables

    def slope(model):
        def found(rows, key):
            def loss():
                values, _ = model.role_losses("student", rows, key)
                return ops.mean(values), {}

            with kd.random.batch_rows(rows.shape[0]):
                return backend.value_and_grad(loss, variables)[1]

        compiled = backend.compile_inference(found, model.variables, jit_compile=False)
        return numpy(compiled(ops.convert_to_tensor(tokens(32), "int32"), key())[0])

    one, other = slope(dimo), slope(dmmd)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert np.abs(one).max() > 1e-3


def test_the_critics_smoothed_target():
    """`(1 - ε) CE(x) + ε mean_k CE(k)` at the masks, by numpy."""
    teacher = tiny_model()
    made = [kd.DiMODistiller(teacher, label_smoothing=share, seed=1) for share in (0.0, 0.25)]
    for model in made:
        randomise(model.critic, seed=3)
        randomise(model.student, seed=4)
    draw = made[1].draw(tokens(16), key())
    assert (numpy(draw.t) == 1).all() and (numpy(draw.z_t) == 3).all()
    logits = numpy(made[1].critic_logits(draw).table()).astype("float64")
    costs = np.log(np.exp(logits).sum(-1, keepdims=True)) - logits
    costs = costs * (numpy(draw.z_s) == 3)[..., None]
    own = np.take_along_axis(costs, numpy(draw.x)[..., None], -1)[..., 0]
    expected = (0.75 * own + 0.25 * costs.mean(-1)).sum(-1) / 5
    found, _ = made[1].role_losses("critic", tokens(16), key())
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-4, atol=1e-6)
    plain, _ = made[0].role_losses("critic", tokens(16), key())
    np.testing.assert_allclose(numpy(plain), own.sum(-1) / 5, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"steps": 2}, "`steps` must be 1"),
        ({"beta": float("nan")}, "`beta` must be"),
        ({"label_smoothing": 1.0}, "`label_smoothing` must be"),
        ({"time_weighting": "late"}, "`time_weighting` must be"),
        ({"critic_steps": 0}, "`critic_steps` must be"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        kd.DiMODistiller(tiny_model(), **kwargs)
