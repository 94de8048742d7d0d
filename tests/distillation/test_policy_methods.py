"""IDLM and Reinforce-DMD against enumerations in float64: one token, of which all draws are known."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import key, numpy, randomise, tiny_model, tokens

K = 3
ALPHAS = 1 - (np.arange(500) + 0.5) / 500  # of s that is uniform


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class Marginal(keras.layers.Layer):
    """One token's prediction, whatever is seen: a table of logits."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = self.add_weight(name="table", shape=(1, K), initializer="zeros")
        self.built = True

    def call(self, z_t, t):
        return ops.zeros_like(z_t, dtype="float32")[..., None] + self.table


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class ByToken(keras.layers.Layer):
    """A prediction by the token that is seen."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = self.add_weight(name="table", shape=(K, K), initializer="zeros")
        self.built = True

    def call(self, z_t, t):
        return ops.take(self.table, z_t, axis=0)


def one_token(cls, **kwargs):
    """A distiller of one token under uniform diffusion, whose networks are tables."""
    process = kd.UniformDiffusion(K)
    made = [
        kd.DiffusionModel(randomise(layer, seed, 1.0), process, length=1)
        for seed, layer in enumerate((ByToken(), Marginal(), ByToken()))
    ]
    return cls(*made, steps=1, **kwargs)


def slopes(model, parts=8, n=4000):
    """The student's gradient by its table, `(parts, K)`, each of `n` rows."""
    variables = model.student.trainable_variables

    def slope(rows, key):
        def loss():
            values, _ = model.role_losses("student", rows, key)
            return ops.mean(values), {}

        with kd.random.batch_rows(rows.shape[0]):
            return backend.value_and_grad(loss, variables)[1]

    compiled = backend.compile_inference(slope, model.variables, jit_compile=False)
    rows = ops.zeros((n, 1), "int32")
    return np.stack([numpy(compiled(rows, k)[0])[0] for k in kd.random.split(key(), parts)])


def expected(model, objective):
    """The slope of `E_s objective(p, α_s)` by the logits, by central differences; s is uniform."""
    logits = numpy(model.student.denoiser.table)[0].astype("float64")

    def value(logits):
        p = np.exp(logits) / np.exp(logits).sum()
        return np.mean([objective(p, alpha) for alpha in ALPHAS])

    step = 1e-5 * np.eye(K)
    return np.array([(value(logits + d) - value(logits - d)) / 2e-5 for d in step])


def tables(model):
    """log-predictions `(z, k)` of teacher and critic, float64."""
    found = []
    for one in (model.teacher, model.critic):
        table = numpy(one.denoiser.table).astype("float64")
        found.append(table - np.log(np.exp(table).sum(-1, keepdims=True)))
    return found


def assert_same(found, wanted):
    error = found.std(axis=0, ddof=1) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0) - wanted) < 5 * error).all()
    assert error.max() < 0.25 * np.abs(wanted).max()


def test_reinforce_follows_the_reward_of_all_draws():
    """`-E_x E_{z_s | x} [log x̂_θ(x | z_s) - log x̂_φ(x | z_s)]`, of which R is not differentiated."""
    model = one_token(kd.ReinforceDistiller, anchor=0.0, samples=3, renoise="forward")
    teacher, critic = tables(model)

    def objective(p, alpha):
        forward = alpha * np.eye(K) + (1 - alpha) / K  # x, z
        return -np.einsum("x,xz,zx->", p, forward, teacher - critic)

    assert_same(slopes(model), expected(model, objective))


def test_idlm_follows_its_loss_through_what_is_drawn():
    """`E_{z_s ~ q(· | p)} Σ_k p_k [cost_θ(k) - cost_φ(k)]`, with p in both places.

    The weight of time, whose tail makes for large errors, is left out here.
    """
    model = one_token(kd.IDLMDistiller, samples=2)
    model.time_weighting = "constant"
    z = np.tile(np.arange(K, dtype="int32"), len(ALPHAS))[:, None]
    s = np.repeat(1 - ALPHAS, K).astype("float32")

    def costs(one):
        table = numpy(model.process.nelbo_cost(one.logits(z, s), z, s)).astype("float64")
        return table.reshape(len(ALPHAS), K, K)  # α, z, k

    difference = dict(zip(ALPHAS, costs(model.teacher) - costs(model.critic), strict=True))

    def objective(p, alpha):
        return (alpha * p + (1 - alpha) / K) @ difference[alpha] @ p

    assert_same(slopes(model), expected(model, objective))


def test_idlm_of_masks_is_its_formula():
    """`1/s Σ_l Σ_k p_k [log x̂_φ(k) - log x̂_θ(k)]` over the masks of `z_s`, and `t` on the grid."""
    model = kd.IDLMDistiller(tiny_model(), steps=4)
    randomise(model.student, 1), randomise(model.critic, 2)
    draw = model.draw(tokens(64), key())
    assert set(np.round(4 * numpy(draw.t), 5)) == {1.0, 2.0, 3.0, 4.0}
    open_s = numpy(draw.z_s) == 3
    logs = []
    for one in (model.teacher, model.critic):
        table = numpy(one.logits(draw.z_s, draw.s)).astype("float64")
        logs.append(table - np.log(np.exp(table).sum(-1, keepdims=True)))
    own = numpy(draw.logits.table()).astype("float64")
    p = np.exp(own) / np.exp(own).sum(-1, keepdims=True)
    known = numpy(draw.z_t)
    p = np.where((known < 3)[..., None], np.eye(4)[known][..., :3], p)
    wanted = ((p * (logs[1] - logs[0])).sum(-1) * open_s).sum(-1) / numpy(draw.s) / 5
    found, _ = model.role_losses("student", tokens(64), key())
    np.testing.assert_allclose(numpy(found), wanted, rtol=1e-4, atol=1e-5)
    # The critic fits p: cross-entropy at the masks.
    wanted = (-(p * logs[1]).sum(-1) * open_s).sum(-1) / numpy(draw.s) / 5
    found, _ = model.role_losses("critic", tokens(64), key())
    np.testing.assert_allclose(numpy(found), wanted, rtol=1e-4, atol=1e-5)


def test_reinforces_anchor_is_a_divergence_from_the_teacher():
    teacher = tiny_model()
    losses = []
    for anchor in (0.0, 0.5):
        model = kd.ReinforceDistiller(teacher, samples=2, anchor=anchor, seed=1)
        randomise(model.student, 1), randomise(model.critic, 2)
        losses.append(numpy(model.role_losses("student", tokens(16), key())[0]))
    draw = model.draw(tokens(16), key(), samples=2)
    z_t, t = draw.z_t[:16], draw.t[:16]
    assert (numpy(draw.z_t) == np.tile(numpy(z_t), (2, 1))).all()
    assert (numpy(draw.x)[:16] != numpy(draw.x)[16:]).any()
    logs = []
    for table in (teacher.logits(z_t, t), draw.logits.table()[:16]):
        table = numpy(table).astype("float64")
        logs.append(table - np.log(np.exp(table).sum(-1, keepdims=True)))
    kl = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1) * (numpy(z_t) == 3)
    np.testing.assert_allclose(losses[1] - losses[0], 0.5 * kl.sum(-1) / 5, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (kd.ReinforceDistiller, {"samples": 1}, "`samples` must be"),
        (kd.ReinforceDistiller, {"anchor": -1}, "`anchor` must be"),
        (kd.ReinforceDistiller, {"renoise": "back"}, "`renoise` must be one of"),
        (kd.ReinforceDistiller, {"time_weighting": "late"}, "`time_weighting` must be"),
        (kd.IDLMDistiller, {"samples": 1}, "`samples` must be"),
        (kd.IDLMDistiller, {"steps": (1, 4)}, "`steps` must be"),
        (kd.IDLMDistiller, {"critic_steps": 0}, "`critic_steps` must be"),
    ],
)
def test_bad_arguments(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls(tiny_model(), **kwargs)
