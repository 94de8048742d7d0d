"""Processes, schedules, samplers, networks and methods of one's own: what is wrong is said at once."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.diffusion.probing import probe
from tests.builders import QUICKLY, numpy, randomise, small_model, tiny_model, tokens

K = 4


def uniform(t, states=K):
    return ops.full((*ops.shape(t), states), 1.0 / states)


def zero(t):
    return ops.one_hot(ops.zeros_like(t, dtype="int32"), K)


class Own(kd.DiffusionProcess):
    """Uniform noise, of this module and not of the library."""

    def noise(self, t):
        return uniform(t)


class Moving(Own):
    """From token 0 to uniform noise."""

    def noise(self, t):
        share = 0.4 * (1.0 - t)[:, None]
        return share * zero(t) + (1.0 - share) * uniform(t)

    def noise_derivative(self, t):
        return 0.4 * (uniform(t) - zero(t))


class Still(Moving):
    def noise_derivative(self, t):
        return ops.zeros_like(self.noise(t))


class Heavy(Own):
    def noise(self, t):
        return 2.0 * uniform(t)


class Short(Own):
    def noise(self, t):
        return uniform(t)[..., 1:]


class Jumping(Own):
    """All noise is token 0 at first and token 1 in the end: what was added would have to go again."""

    def noise(self, t):
        late = ops.one_hot(ops.ones_like(t, dtype="int32"), K)
        share = ops.sigmoid(60.0 * (t - 0.5))[:, None]
        return (1.0 - share) * zero(t) + share * late

    def noise_derivative(self, t):
        late = ops.one_hot(ops.ones_like(t, dtype="int32"), K)
        share = ops.sigmoid(60.0 * (t - 0.5))[:, None]
        return 60.0 * share * (1.0 - share) * (late - zero(t))


class Forgetful(Own):
    """Its posterior is the marginal, whatever was seen."""

    def posterior(self, x, z_t, s, t):
        return self.marginal(x, s)


class Lopsided(Own):
    """Its posterior is the prior."""

    def posterior(self, x, z_t, s, t):
        return self.marginal(x, ops.ones_like(t))


class Cheap(Own):
    def nelbo_weight(self, t):
        return 0.5 * super().nelbo_weight(t)


class Masking(kd.DiffusionProcess):
    """What the guide says: the trait, and the noise."""

    absorbing = True

    def noise(self, t):
        return ops.one_hot(ops.full_like(t, K, dtype="int32"), K + 1)


class Unmasked(Own):
    absorbing = True

    def noise(self, t):
        return uniform(t, K + 1)


class Told(Own):
    def __init__(self, vocabulary_size, share=0.5, **kwargs):
        super().__init__(vocabulary_size, **kwargs)
        self.share = share


@pytest.mark.parametrize(
    "process",
    [
        Own(K),
        Moving(K),
        Masking(K),
        kd.MaskedDiffusion(K, schedule="cosine"),
        kd.UniformDiffusion(K, prediction="loo"),
        kd.HybridDiffusion(K),
        kd.HybridDiffusion(3, schedule="polynomial", uniform_share=0.2, final_uniform_share=0.7),
    ],
    ids=lambda process: type(process).__name__,
)
def test_a_sound_process_is_accepted(process):
    kd.check_process(process)


@pytest.mark.parametrize(
    "process, message",
    [
        (Heavy(K), "no distribution"),
        (Short(K), r"must give `noise` as \(batch, 4\): of 2 times it gives \(2, 3\)"),
        (Still(K), "`noise_derivative` says"),
        (Jumping(K), "no Markov process: from s=0.107 to t=0.611"),
        (Lopsided(K), "contradicts itself: Σ q"),
        (Unmasked(K), "is absorbing, so"),
        (Told(K, 0.2), "`get_config` of Told leaves out share"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_process_that_cannot_be_makes_no_model(process, message):
    with pytest.raises(ValueError, match=message):
        kd.DiffusionModel(kd.Denoiser(K, process.num_states), process)


def test_a_bound_below_the_entropy_is_found():
    for process in (Cheap(K), Forgetful(K)):
        probe(process)  # which a model does not look at
    with pytest.raises(ValueError, match="contradicts itself: q.* differs between clean tokens"):
        kd.check_process(Forgetful(K))
    with pytest.raises(ValueError, match="has a bound of 0.6396 nats where the data have 1.2799"):
        kd.check_process(Cheap(K))
    with pytest.raises(ValueError, match="at most 12"):
        kd.check_process(Own(13))


def test_an_absorbing_process_needs_its_noise_alone():
    """All that samplers and distillers ask for follows, as of `MaskedDiffusion`."""
    own, shipped = Masking(K), kd.MaskedDiffusion(K)
    for name in ("num_states", "mask_id", "constant_prior"):
        assert getattr(own, name) == getattr(shipped, name)
    z = np.array([[0, K, 3, K]])
    np.testing.assert_array_equal(numpy(own.is_open(z)), numpy(shipped.is_open(z)))
    drawn = []
    for process in (own, shipped):
        model = tiny_model(process)
        drawn.append(model.generate(3, steps=3, sampler="confidence", verbose=0))
        kd.DMMDDistiller(model, steps=1)
    np.testing.assert_array_equal(*drawn)


def test_whether_the_prior_is_constant_is_seen_by_the_noise():
    assert not Own(K).constant_prior and Own(K).mask_id is None
    assert kd.HybridDiffusion(K).constant_prior
    assert not kd.HybridDiffusion(K, final_uniform_share=0.5).constant_prior


@pytest.mark.parametrize(
    "alpha, derivative, message",
    [
        (lambda t: 1 - t, lambda t: -0.5 * ops.ones_like(t), "must give the derivative of its α"),
        (lambda t: 1 - 0.7 * t, lambda t: -0.7 * ops.ones_like(t), "must fall from 1 to 0"),
        (lambda t: 0.9 * (1 - t), lambda t: -0.9 * ops.ones_like(t), "must fall from 1 to 0"),
    ],
)
def test_a_schedule_that_is_none(alpha, derivative, message):
    class Wrong(kd.schedules.Schedule):
        def __call__(self, t):
            return kd.schedules.SignalLevel(alpha(t), derivative(t))

    with pytest.raises(ValueError, match=message):
        kd.MaskedDiffusion(K, schedule=Wrong())


class Fill(kd.samplers.Stepper):
    """Every token is `token`; what `step` returns is made by `change`."""

    def __init__(self, token=1, change=None):
        self.token, self.change = token, change

    def step(self, process, prediction, z_t, s, t, state, keys):
        z = ops.full_like(z_t, self.token)
        return kd.samplers.Step(z, state) if self.change is None else self.change(z)

    def get_config(self):
        return {"token": self.token, "change": self.change}


class Silent(Fill):
    def get_config(self):
        return {}


@pytest.mark.parametrize(
    "sampler, message",
    [
        (Silent(2), "`get_config` of Silent leaves out token"),
        (Fill, r"must be an object, Fill\(\)"),
        (Fill(3), "leaves tokens from 3 to 3 after the last"),
        (Fill(1, lambda z: z), r"must return a Step\(z, state\)"),
        (Fill(1, lambda z: kd.samplers.Step(z[:, 1:])), r"ids of shape \(1, 5\). Received: int32 of"),
        (Fill(1, lambda z: kd.samplers.Step(ops.cast(z, "float32"))), "Received: float32"),
    ],
)
def test_a_sampler_that_cannot_be(sampler, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().generate(1, steps=1, sampler=sampler, jit_compile=False, verbose=0)


def test_a_step_without_a_state_keeps_it():
    class Counting(Fill):
        def init(self, process, z_1, key):
            return (ops.zeros((z_1.shape[0],)),)

        def step(self, process, prediction, z_t, s, t, state, keys):
            (count,) = state
            return kd.samplers.Step(ops.zeros_like(z_t, "int64") + ops.cast(count[:, None], "int64"))

    drawn = tiny_model().generate(2, steps=2, sampler=Counting(), jit_compile=False, verbose=0)
    assert drawn.dtype == np.int32 and (drawn == 0).all()


def test_an_adaptive_step_need_not_say_that_rows_are_done():
    class Asking(Fill):
        adaptive = True

        def step(self, process, prediction, z_t, s, t, state, keys):
            return super().step(process, prediction, z_t, s, t, state, keys)._replace(done=None)

    drawn, calls = tiny_model().generate(2, steps=2, sampler=Asking(), return_calls=True, verbose=0)
    assert (drawn < 3).all() and (calls == 2).all()


@keras.saving.register_keras_serializable("tests")
class Lazy(keras.layers.Layer):
    """Ordinary Keras: layers in the constructor, built by the first call."""

    def __init__(self, words, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.words, self.scale = words, scale
        self.table = keras.layers.Embedding(words + 1, 8)
        self.head = keras.layers.Dense(words)

    def call(self, z_t, t):
        return self.head(self.table(z_t) * (1.0 + t[:, None, None])) * self.scale

    def get_config(self):
        return {**super().get_config(), "words": self.words, "scale": self.scale}


def test_layers_without_a_build_are_copied_and_loaded(tmp_path):
    model = kd.DiffusionModel(Lazy(3), kd.MaskedDiffusion(3), length=5)
    model.build()
    randomise(model)
    z_t, t = np.array([[0, 3, 3, 1, 2]], "int32"), np.array([0.5], "float32")
    wanted = numpy(model.logits(z_t, t))
    model.save(tmp_path / "lazy.keras")
    model.save_to_preset(tmp_path / "lazy")
    loaded = keras.saving.load_model(tmp_path / "lazy.keras")
    for other in (model.copy(), loaded):
        np.testing.assert_allclose(numpy(other.logits(z_t, t)), wanted, rtol=1e-6)
    again = numpy(kd.from_preset(tmp_path / "lazy").logits(z_t, t))  # of float16 weights
    np.testing.assert_allclose(again, wanted, rtol=1e-2, atol=1e-2)


def test_a_network_without_a_build_trains_where_the_length_is_known():
    """Compiled, as nobody built it before: TensorFlow makes no variables where it traces."""
    model = kd.DiffusionModel(Lazy(3), kd.MaskedDiffusion(3), length=5)
    model.compile("adam", jit_compile=False)
    model.fit(tokens(8), batch_size=8, verbose=0)
    assert model.denoiser.head.built and int(model.optimizer.iterations) == 1


class LeftOut(Lazy):
    def get_config(self):
        config = super().get_config()
        del config["scale"]
        return config


class WithMask(Lazy):
    """A head with a logit for the mask."""

    def __init__(self, words):
        super().__init__(words + 1)


def functional():
    z_t, t = keras.Input((5,), dtype="int32"), keras.Input(())
    x = keras.layers.Embedding(4, 3)(z_t)
    return keras.Model([z_t, t], x * keras.ops.expand_dims(keras.ops.expand_dims(t, -1), -1))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LeftOut(3, 2.0), "`get_config` of LeftOut leaves out scale"),
        (functional, r"takes 'training' second. Wrap it in a layer"),
        (lambda: WithMask(3), r"must return logits \(batch, length, 3\) of clean tokens"),
    ],
)
def test_a_network_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        kd.DiffusionModel(make(), kd.MaskedDiffusion(3), length=5).build()


class Method(kd.Distiller):
    """The training loss of the student; `options` say what goes wrong."""

    roles = ("student", "referee")
    statistics = ("seen",)
    how = "right"

    def role_losses(self, role, inputs, key):
        loss = self.model_of(role)(inputs, training=True, key=key)
        if self.how == "bare":
            return loss
        if self.how == "table":
            loss = loss[:, None]
        return loss, {} if self.how == "unseen" else {"seen": ops.mean(loss)}


def method(how="right", **kwargs):
    teacher = tiny_model()
    distiller = Method(teacher, teacher.copy(name="student"), **kwargs)
    distiller.how = how
    return distiller


@pytest.mark.parametrize(
    "how, message",
    [
        ("bare", r"must return losses \(batch,\) and a dict of statistics"),
        ("table", r"a loss of each example, \(batch,\)"),
        ("unseen", "No `role_losses` of Method reports 'seen'"),
    ],
)
def test_a_method_that_cannot_be(how, message):
    distiller = method(how, referee=tiny_model(seed=1))
    distiller.compile(**QUICKLY)
    with pytest.raises(ValueError, match=message):
        distiller.fit(tokens(8), batch_size=8, verbose=0)


def test_a_role_that_comes_too_late_is_not_left_out_silently():
    distiller = method()
    distiller.referee = tiny_model()
    with pytest.raises(ValueError, match="The referee of Method would not be trained"):
        distiller.compile()


def test_a_method_of_ones_own_trains():
    distiller = method(referee=tiny_model(seed=1))
    distiller.compile(**QUICKLY)
    logs = distiller.fit(tokens(8), batch_size=8, verbose=0).history
    assert np.isfinite(logs["referee_loss"][0]) and logs["seen"][0] > 0


def test_the_models_of_a_method_are_checked():
    teacher = tiny_model()
    for student, message in [
        (teacher, "must be different models"),
        (None, "`student` must be a model"),
    ]:
        with pytest.raises(ValueError, match=message):
            Method(teacher, student)


class Critical(kd.Distiller):
    """A critic that is any network, and a statistic that it alone reports."""

    statistics = ("gap",)

    def role_losses(self, role, inputs, key):
        loss = self.student(inputs, training=True, key=key)
        if role == "student":
            return [loss, {}]
        score = self.critic(ops.one_hot(inputs, 3))[:, 0]
        return score, {"gap": ops.mean(score)}


def test_what_a_method_may_have():
    """A critic that is no diffusion model, or none; a student of another process."""
    teacher, other = tiny_model(), small_model(kd.UniformDiffusion(3))
    critic = keras.Sequential([keras.Input((5, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    for each in (critic, None):
        distiller = Critical(teacher, other, each)
        distiller.compile(**QUICKLY)
        distiller.fit(tokens(8), batch_size=8, verbose=0)


class Repeated(Own):
    """The signature of its base, whose config leaves out what is not chosen."""

    def __init__(self, vocabulary_size, schedule="linear", prediction="mean"):
        super().__init__(vocabulary_size, schedule, prediction)
        self.constant_prior = False


class Pieces(kd.schedules.Schedule):
    """Two straight lines, and clean at the end of the second."""

    def __call__(self, t):
        alpha = ops.where(t < 0.5, 1.0 - 1.6 * t, ops.maximum(0.6 - 0.8 * t, 0.0))
        slope = ops.where(t < 0.5, -1.6, ops.where(t < 0.75, -0.8, 0.0))
        return kd.schedules.SignalLevel(alpha, slope)


class Remembering(kd.UniformDiffusion):
    """Marginals as they were, of a posterior that keeps what it can: no Markov process."""

    def posterior(self, x, z_t, s, t):
        if len(x.shape) == 3:
            return super().posterior(x, z_t, s, t)
        alpha_s, alpha_t = (self.signal(each).alpha[:, None, None] for each in (s, t))
        kept = (1.0 - alpha_s) / (1.0 - alpha_t)
        x, z_t = (ops.one_hot(ids, K) for ids in (x, z_t))
        return kept * z_t + (alpha_s - kept * alpha_t) * x


@pytest.mark.parametrize(
    "make",
    [lambda: Repeated(K), lambda: Repeated(K, Pieces()), lambda: Remembering(K)],
    ids=["signature", "pieces", "no chain"],
)
def test_an_unusual_process_makes_a_model(make):
    process = make()
    tiny_model(process)
    assert process.constant_prior is False


def test_gathering_broadcasts_on_every_backend():
    process, z_t = Own(K), np.array([[0, 1], [2, 3]])
    one = numpy(process.log_likelihood(z_t, np.array([0.5], "float32")))
    np.testing.assert_allclose(one, numpy(process.log_likelihood(z_t, np.full(2, 0.5, "float32"))))


class Wide(keras.layers.Layer):
    """No `build`, weights that depend on the length, and a layer for labels, which it always reads."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = 2
        self.classes = keras.layers.Embedding(3, 3)
        self.head = keras.layers.Dense(15)

    def call(self, z_t, t, labels=None):
        x = self.head(ops.reshape(ops.one_hot(z_t, 4), (-1, z_t.shape[1] * 4)))
        return ops.reshape(x, (-1, z_t.shape[1], 3)) + self.classes(labels)[:, None]


def test_a_network_is_built_at_the_length_of_the_data_with_all_it_can_be_told():
    model = kd.DiffusionModel(Wide(), kd.MaskedDiffusion(3))
    model.build()  # of no length: nothing yet
    assert not model.denoiser.head.built
    model.build((None, 5))
    model.compile("adam", **QUICKLY)
    model.fit({"tokens": tokens(8), "labels": np.zeros(8, int)}, batch_size=8, verbose=0)
    assert model.copy().denoiser.classes.built
