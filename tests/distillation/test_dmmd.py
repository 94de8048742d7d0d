import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend, random
from keras_dmmd.distillation.beginnings import default_renoise
from tests.builders import (
    ON_TORCH,
    PROCESSES,
    QUICKLY,
    batches,
    distiller,
    key,
    numpy,
    randomise,
    small_model,
    tokens,
)
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser


def sgd(rate=0.1):
    return keras.optimizers.SGD(rate)


# Every process and every way; where each compiles, the one that is the default.
WAYS = [
    pytest.param(
        process, way, marks=[] if way == default_renoise(process) else ON_TORCH, id=f"{process!r}-{way}"
    )
    for process in PROCESSES
    for way in ("posterior", "forward", "mixed")
]


@pytest.mark.parametrize(("process", "renoise"), WAYS)
def test_trains_both_and_leaves_the_teacher(process, renoise):
    model = distiller(process, renoise=renoise)
    model.compile()
    before = {name: getattr(model, name).get_weights() for name in ("teacher", "student", "critic")}
    history = model.fit(tokens(), verbose=0).history
    moved = {
        name: any(
            (a != b).any() for a, b in zip(weights, getattr(model, name).get_weights(), strict=True)
        )
        for name, weights in before.items()
    }
    assert moved == {"teacher": False, "student": True, "critic": True}
    assert set(history) == {
        "loss",
        "student_loss",
        "critic_loss",
        "student_entropy",
        "log_ratio_mean",
        "log_ratio_std",
        "student_grad_norm",
        "critic_grad_norm",
        "skipped",
    }
    assert all(np.isfinite(values).all() for values in history.values())


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (kd.MaskedDiffusion(4), "posterior"),
        (kd.UniformDiffusion(4), "mixed"),
        (kd.HybridDiffusion(4), "mixed"),
    ],
    ids=repr,
)
def test_renoising_follows_the_process(process, expected):
    assert distiller(process).renoise == expected


def test_critic_that_knows_the_teacher_gives_no_gradient():
    """At the fixed point, critic = teacher, the student stands still exactly."""
    model = distiller()
    model.compile(student_optimizer=sgd(), critic_optimizer=sgd(0.0))
    before = model.student.get_weights()
    history = model.fit(tokens(), verbose=0).history
    assert history["student_grad_norm"] == [0.0]
    assert history["log_ratio_std"] == [0.0]
    for a, b in zip(before, model.student.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_step_student_learns_the_marginals_exactly():
    """With one token there is nothing to agree on: the student must become the data distribution.

    The expected answer comes from the data alone, and the student starts uniform.
    """
    support, probabilities = np.arange(3)[:, None].astype("int32"), np.array([0.6, 0.3, 0.1])
    process = kd.MaskedDiffusion(3)
    teacher = kd.DiffusionModel(ExactDenoiser(support, probabilities, process), process, length=1)

    def blank(name):
        return kd.DiffusionModel(toy.ToyDenoiser(3, 4, 1, width=16), process, length=1, name=name)

    keras.utils.set_random_seed(0)
    model = kd.DMMDDistiller(teacher, student=blank("student"), critic=blank("critic"), steps=1)
    model.compile(
        student_optimizer=keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.98),
        critic_optimizer=keras.optimizers.Adam(2e-2),
    )
    data = toy.samples(support, probabilities, 500 * 128, 0)
    model.fit(data, batch_size=128, verbose=0)
    logits = model.student.logits(np.full((1, 1), 3, "int32"), np.ones(1, "float32"))
    probs = ops.convert_to_numpy(ops.softmax(logits))[0, 0]
    assert 0.5 * np.abs(probs - probabilities).sum() < 0.05


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_students_loss_at_a_temperature_of_its_own(temperature):
    """`Σ q · [log x̂_φ - log x̂_θ]` over masked tokens, q its prediction at τ, in float64."""
    model = distiller(student_temperature=temperature, max_log_ratio=1.0)
    randomise(model.student), randomise(model.critic, seed=1)
    draw = model.draw(tokens(16), key())
    critic = model.critic_logits(draw)
    losses, _ = model.student_losses(draw, critic)

    def log_probs(logits, scale=1.0):
        values = numpy(logits.table()).astype("float64") / scale
        return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))

    advantage = log_probs(critic) - log_probs(model.teacher_logits(draw))
    q = np.exp(log_probs(draw.logits, temperature))
    terms = (q * np.clip(advantage, -1.0, 1.0)).sum(axis=-1)
    terms = np.where(numpy(draw.z_s) == model.process.mask_id, terms, 0.0)
    np.testing.assert_allclose(numpy(losses), terms.sum(axis=-1) / 5, rtol=1e-4, atol=1e-6)
    restored = kd.DMMDDistiller.from_config(model.get_config())
    assert restored.student_temperature == temperature


def test_temperature_is_distilled():
    """The same, from a teacher at τ = 1/2: probabilities squared, normalised."""
    support, probabilities = np.arange(3)[:, None].astype("int32"), np.array([0.6, 0.3, 0.1])
    process = kd.MaskedDiffusion(3)
    teacher = kd.DiffusionModel(ExactDenoiser(support, probabilities, process), process, length=1)
    model = kd.DMMDDistiller(
        teacher,
        student=kd.DiffusionModel(toy.ToyDenoiser(3, 4, 1, width=16), process, length=1),
        critic=kd.DiffusionModel(toy.ToyDenoiser(3, 4, 1, width=16), process, length=1),
        temperature=0.5,
    )
    draw = model.draw(np.zeros((64, 1), "int32"), key())
    open_s = numpy(draw.z_s)[:, 0] == process.mask_id
    probs = numpy(ops.softmax(model.teacher_logits(draw).table()))[open_s, 0]
    np.testing.assert_allclose(
        probs, [probabilities**2 / (probabilities**2).sum()] * len(probs), rtol=1e-5
    )
    model.temperature, model.top_p, model.top_p_penalty = 1.0, 0.8, 2.0
    lowered = probabilities * np.array([1, 1, np.exp(-2.0)])
    probs = numpy(ops.softmax(model.teacher_logits(draw).table()))[open_s, 0]
    np.testing.assert_allclose(probs, [lowered / lowered.sum()] * len(probs), rtol=1e-5)
    assert len(probs) > 8


def test_torch_compile_trains_like_eager(monkeypatch):
    """Traced and differentiated ahead of time; the code, which takes minutes, is not generated here.

    Of a teacher: tracing a round of D-MMD takes minutes, too. With Torch 2.13 on a CPU the same
    comparison was seen to hold for it, and with code.
    """
    if keras.backend.backend() != "torch":
        pytest.skip("torch.compile")
    import torch

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    histories = []
    for jit_compile in (False, True):
        model = small_model()
        model.compile(optimizer=sgd(), jit_compile=jit_compile)
        histories.append(model.fit(tokens(), shuffle=False, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=2e-3, atol=2e-5, err_msg=name)


def test_draw_is_what_the_method_says():
    """Times, carried-over tokens and re-noised samples of one draw."""
    model = kd.DMMDDistiller(small_model(), steps=4)
    x = tokens(512)
    draw = model.draw(x, key())
    z_t, z_s, sample = (ops.convert_to_numpy(a) for a in (draw.z_t, draw.z_s, draw.x))
    mask = model.process.mask_id
    kept = z_t != mask
    assert (sample[kept] == z_t[kept]).all()
    assert (z_s[kept] == z_t[kept]).all()
    assert ((z_s == mask) | (z_s == sample)).all()
    s = ops.convert_to_numpy(draw.s)
    assert (0 < s).all() and (s <= 1).all()
    # Masked with probability s, wherever t was: 2,560 tokens, within 5 standard errors.
    assert abs((z_s == mask).mean() - s.mean()) < 5 * 0.5 / 2560**0.5


@pytest.mark.parametrize(("steps", "expected"), [(1, 5 / 6), (8, 1 - 4 * (1 - (7 / 8) ** 3) / 3)])
def test_a_draw_goes_one_of_the_students_steps_back(steps, expected):
    """`t = min(1, s + δ)`: the share of masks in `z_t` is `E[t] = 1 - E[(1 - s - δ)+]`, an integral."""
    model = kd.DMMDDistiller(small_model(), steps=steps, times="random")
    draw = model.draw(tokens(4096), key())
    masked = (ops.convert_to_numpy(draw.z_t) == model.process.mask_id).mean(axis=1)
    assert abs(masked.mean() - expected) < 5 * masked.std() / 4096**0.5


@pytest.mark.parametrize("steps", [1, 3, 8, (1, 16)])
def test_times_of_the_grid_are_those_of_sampling(steps):
    """`t` is the call of the student after which it comes to `s`, and `s` is uniform."""
    model = kd.DMMDDistiller(small_model(), steps=steps, times="grid")
    s, t, size = (ops.convert_to_numpy(x) for x in model.draw_times(4096, *random.split(key(), 2)))
    assert (s <= t).all() and (t <= s + size + 1e-6).all() and t.max() == 1.0
    for k in (steps,) if isinstance(steps, int) else (1, 5, 16):
        own = np.isclose(size, 1 / k)
        grid = np.arange(1, k + 1) / k
        assert own.any() and np.isclose(t[own, None], grid, atol=1e-6).any(axis=1).all()
    # Stratified: the mean is off by less than one part of 4096.
    assert abs(s.mean() - 0.5) < 1e-3


def test_forward_renoising_forgets_z_t():
    model = distiller(renoise="forward")
    draw = model.draw(tokens(512), key())
    z_t, z_s = ops.convert_to_numpy(draw.z_t), ops.convert_to_numpy(draw.z_s)
    assert (z_s[z_t != model.process.mask_id] == model.process.mask_id).any()


def test_mixed_renoising_is_a_coin_an_example():
    """A token open in `z_s` though known in `z_t` gives the forward process away."""
    model = distiller(renoise="mixed")
    x, z_t = ops.zeros((4096, 8), "int32"), ops.zeros((4096, 8), "int32")
    s, t = ops.full((4096,), 0.9), ops.full((4096,), 0.95)
    z_s = ops.convert_to_numpy(model.renoised(x, z_t, s, t, key()))
    masked = (z_s == model.process.mask_id).sum(axis=1)
    forward = masked > 0  # but for one in 10^8
    assert abs(forward.mean() - 0.5) < 5 * 0.5 / 4096**0.5
    assert abs(masked[forward].mean() / 8 - 0.9) < 0.02  # every token of such an example


def test_critic_steps_and_one_branch_each():
    model = distiller(critic_steps=3)
    model.compile(student_optimizer=sgd(), critic_optimizer=sgd())
    model.fit(tokens(64), batch_size=32, verbose=0)
    critic, student = model.optimizer.optimizers
    assert int(critic.iterations) == 6
    assert int(student.iterations) == 2
    assert int(model.optimizer.iterations) == 2


def test_an_overflow_in_float16_leaves_the_logs_finite():
    model = distiller(dtype="mixed_float16")
    model.compile(sgd(), sgd())
    for optimizer in model.optimizer.optimizers:
        optimizer.dynamic_scale.assign(2.0**120)  # the first step overflows and is left out
    before = model.student.get_weights()
    history = model.fit(tokens(16), batch_size=16, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    for a, b in zip(before, model.student.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(policy):
    model = distiller(dtype=policy)
    model.compile()
    history = model.fit(tokens(), epochs=2, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    # Logged norms are of the unscaled gradients: a loss scale of 2^15 would show.
    assert 1e-3 < history["critic_grad_norm"][0] < 1e2


def hashed(seed, shape):
    """Numbers in [0, 1) by integer arithmetic, the same however they are compiled."""
    bits = ops.arange(int(np.prod(shape)), dtype="int32") * 747796405 + seed[0] + seed[1] * 31
    for shift in (16, 15):
        bits = ops.bitwise_xor(bits, ops.right_shift(bits, shift)) * 73244475
    bits = ops.bitwise_and(ops.right_shift(bits, 7), 2**24 - 1)
    return ops.reshape(ops.cast(bits, "float32") / 2.0**24, shape)


@pytest.mark.parametrize("options", [{"jit_compile": False}, {"run_eagerly": True}], ids=str)
def test_without_xla_and_eager(options, monkeypatch):
    if keras.backend.backend() == "torch":
        pytest.skip("eager is how torch runs anyway")
    if keras.backend.backend() == "tensorflow":  # whose own draws are others under XLA
        for name in ("uniform", "normal"):  # but those by keys of rows
            own = getattr(backend, name)
            monkeypatch.setattr(
                backend,
                name,
                lambda seed, shape, own=own: (own if backend.is_row_key(seed) else hashed)(seed, shape),
            )
    histories = []
    xla = {"jit_compile": True} if "jit_compile" in options else {}  # not TensorFlow's default on CPUs
    for kwargs in (xla, options):
        keras.utils.set_random_seed(3)
        model = distiller()
        model.compile(student_optimizer=sgd(), critic_optimizer=sgd(), **kwargs)
        histories.append(model.fit(tokens(), shuffle=False, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    "kind",
    [
        "tf.data",
        *(
            pytest.param(kind, marks=pytest.mark.long_compilation)
            for kind in ("PyDataset", "DataLoader", "Grain")
        ),
    ],
)
def test_fit_takes_any_input(kind):
    model = distiller()
    model.compile()
    model.fit(batches(kind, tokens(), 32), verbose=0)
    # Keras on TensorFlow counts the end of data whose size it cannot know as one more iteration.
    uncertain = kind == "Grain" and keras.backend.backend() == "tensorflow"
    assert int(model.optimizer.iterations) in ((2, 3) if uncertain else (2,))


def test_evaluate_repeats_and_validates():
    model = distiller()
    model.compile()
    x = tokens(64)
    first = model.evaluate(x, verbose=0, return_dict=True)
    assert first == model.evaluate(x, verbose=0, return_dict=True)
    assert set(first) == {"loss", "student_loss", "critic_loss"}
    history = model.fit(x, validation_data=x, epochs=2, verbose=0).history
    assert np.isfinite(history["val_critic_loss"]).all()
    losses = model.predict(x, verbose=0)
    assert {name: values.shape for name, values in losses.items()} == {
        "student_loss": (64,),
        "critic_loss": (64,),
    }


def test_callbacks_find_both_learning_rates():
    model = distiller()
    model.compile(student_optimizer=sgd(0.1), critic_optimizer=sgd(0.2))
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model.fit(tokens(), epochs=2, callbacks=[halve], verbose=0)
    rates = [float(optimizer.learning_rate) for optimizer in model.optimizer.optimizers]
    np.testing.assert_allclose(rates, [0.05, 0.025], rtol=1e-6)


def test_save_and_load_goes_on_as_if_nothing_happened(tmp_path):
    model = distiller()
    model.compile(student_optimizer=sgd(), critic_optimizer=keras.optimizers.Adam(1e-3))
    model.fit(tokens(), verbose=0)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.get_config().keys() == model.get_config().keys()
    for one in (model, loaded):
        one.fit(tokens(), shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.student.save(tmp_path / "student.keras")
    student = keras.saving.load_model(tmp_path / "student.keras")
    assert (student.generate(8, steps=2) == model.student.generate(8, steps=2)).all()


def test_summary_shows_the_three_networks():
    lines = []
    distiller().summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "student" in text and "critic" in text and "diffusion_model" in text


def test_the_teacher_can_be_distilled_again():
    teacher = small_model()
    first = kd.DMMDDistiller(teacher, steps=2)
    second = kd.DMMDDistiller(teacher, steps=1)
    assert second.student.trainable_variables
    ids = {id(v) for v in first.trainable_variables}
    assert not ids & {id(v) for v in second.trainable_variables}


def test_the_teacher_is_left_to_its_owner():
    """It trains on as if it had never been distilled."""
    teacher, other = small_model(), small_model()
    other.set_weights(teacher.get_weights())
    once = {"shuffle": False, "verbose": 0}
    for model in (teacher, other):
        model.compile(sgd(), **QUICKLY)
        model.fit(tokens(8), **once)
    before = teacher.get_weights()
    distiller = kd.DMMDDistiller(teacher, steps=2)
    distiller.compile(**QUICKLY)
    distiller.fit(tokens(8), **once)
    for one, two in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for model in (teacher, other):
        model.fit(tokens(8), **once)
    for one, two in zip(teacher.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(before, teacher.get_weights(), strict=True))


def other(vocabulary_size=4):
    return small_model(kd.MaskedDiffusion(vocabulary_size))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: distiller(kd.UniformDiffusion(3), target="soft"), "not sound for UniformDiffusion"),
        (lambda: distiller(student=other()), "vocabulary has 4"),
        (lambda: distiller(critic=small_model(kd.UniformDiffusion(3))), "has the process"),
        (lambda: kd.DMMDDistiller(small_model(), steps=0), "`steps` must be"),
        (lambda: kd.DMMDDistiller("teacher"), "`teacher` must be"),
        (lambda: kd.DMMDDistiller(unbuilt()), "teacher is not built"),
        (lambda: distiller(critic_steps=0), "`critic_steps` must be"),
        (lambda: distiller(renoise="backward"), "`renoise` must be one of"),
        (lambda: distiller(target="medium"), "`target` must be one of"),
        (lambda: distiller(time_weighting="late"), "`time_weighting` must be"),
        (lambda: distiller(temperature=0.0), "`temperature` must be"),
        (lambda: distiller(top_p=0.0), "`top_p` must be a number in"),
        (lambda: distiller(top_p=0.9, top_p_penalty=float("inf")), "`top_p_penalty` must"),
        (lambda: distiller(teacher_weight=-1), "`teacher_weight` must"),
        (lambda: distiller(max_log_ratio=0), "`max_log_ratio` must"),
        (lambda: distiller(noise="pyramid"), "is for images"),
        (lambda: distiller(student=small_model(), noise="gaussian"), "brings its own"),
        (lambda: distiller(student=small_model(), noise_scale=0.5), "`noise_scale`.*brings its own"),
        (lambda: distiller(noise_scale="a"), '`noise_scale` must be "auto" or a number in'),
        (lambda: distiller(student=small_model(kd.MaskedDiffusion(3, "cosine"))), "differ in schedule"),
        (lambda: distiller(critic=small_model().copy(noise="gaussian")), "critic has a random input"),
        (lambda: distill_a_student(), "teacher has a random input"),
        (lambda: exact_without_student(), "no weights to copy"),
        (lambda: distiller().compile(optimizer="adam"), "is compiled with student_optimizer"),
        (lambda: same_optimizer_twice(), "an optimizer each"),
    ],
)
def test_bad_combinations_fail_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def unbuilt():
    class Later(keras.layers.Layer):
        def build(self, shape):
            pass

    return kd.DiffusionModel(Later(), kd.MaskedDiffusion(3))


def distill_a_student():
    return kd.DMMDDistiller(small_model().copy(noise="gaussian"))


def exact_without_student():
    process = kd.MaskedDiffusion(3)
    exact = ExactDenoiser(*toy.random_modes(0), process)
    return kd.DMMDDistiller(kd.DiffusionModel(exact, process, length=5))


def same_optimizer_twice():
    one = sgd()
    distiller().compile(student_optimizer=one, critic_optimizer=one)
