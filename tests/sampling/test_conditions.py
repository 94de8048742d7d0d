"""Prompts, gaps and classes: what is given stays, and the rest is drawn from the conditional."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_dmmd as kd
from keras_dmmd.conditions import Conditions
from keras_dmmd.sampling.prompts import read_prompts
from keras_dmmd.training.corruption import corrupt_batch, given_prefixes
from tests.builders import ON_TORCH, PROCESSES, all_on_torch, key, small_model, tiny_model
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

LENGTH = 5
SUPPORT, PROBABILITIES = toy.random_modes(2)
ABC = kd.tokenizers.CharacterTokenizer("abc")
ABEND = kd.tokenizers.CharacterTokenizer("ab", end=True)  # id 2 ends a text
every_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


def exact_model(process, told=False, tokenizer=None):
    denoiser = ExactDenoiser(SUPPORT, PROBABILITIES, process, prompts=told)
    return kd.DiffusionModel(denoiser, process, length=LENGTH, tokenizer=tokenizer)


def conditional(known, x):
    """The data's distribution where they agree with `x` where it is known."""
    p = PROBABILITIES * (SUPPORT == x)[:, known].all(axis=1)
    return p / p.sum()


def randomised(model, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    return model


# Given tokens -------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(PROCESSES),
    st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=3, max_size=3),
    st.sampled_from([1, 2, 5]),
    st.booleans(),
)
def test_what_is_given_is_never_altered(process, rows, steps, told):
    """3 stands for a place to fill; the network's predictions are random."""
    model = randomised(tiny_model(process, prompts=told))
    prompts = np.array(rows)
    known = prompts < 3
    result = model.generate(steps=steps, prompts=prompts, known=known, jit_compile=False)
    np.testing.assert_array_equal(result[known], prompts[known])
    assert ((0 <= result) & (result < 3)).all()
    if process.absorbing or told:  # they stand from the beginning
        path = model.generate(
            steps=steps, prompts=prompts, known=known, trajectory=True, jit_compile=False
        )
        assert (path[:, known] == prompts[known]).all()


TOLD = [(PROCESSES[0], False), (PROCESSES[1], True)]
TOLD += [pair for pair in itertools.product(PROCESSES, (False, True)) if pair not in TOLD]


@all_on_torch(("process", "told"), TOLD, first=2)
def test_samples_follow_the_conditional_distribution(process, told):
    """A given token in the middle; 8 modes, 10,000 draws of many steps by the exact denoiser."""
    known = np.array([False, False, True, False, True])
    x = SUPPORT[np.argmax(PROBABILITIES)]
    target = conditional(known, x)
    assert 0 < (target > 0).sum() < len(target)
    draws = exact_model(process, told).generate(
        10_000,
        steps=64,
        prompts=x[None],
        known=known[None],
        seed=1,
        verbose=0,
    )
    distance = kd.metrics.total_variation(draws, SUPPORT, target)
    exact = process.absorbing or told
    # Without being told, the uniform network sees given tokens at the noise of the others: what it
    # predicts of those is then right only late, and far better than to ignore the prompt.
    assert distance < (0.03 if exact else 0.3)
    assert distance < kd.metrics.total_variation(
        toy.samples(SUPPORT, PROBABILITIES, 10_000, 0), SUPPORT, target
    )


# Hybrid noise makes for rare, large values, which no mean of draws shows: its bound is checked by
# quadrature.
@pytest.mark.parametrize("process", PROCESSES[:3], ids=repr)
def test_nelbo_given_tokens_is_the_conditional_entropy(process):
    known = np.array([True, False, True, False, False])
    entropy = 0.0
    for x, p in zip(SUPPORT, PROBABILITIES, strict=True):
        entropy -= p * np.log(conditional(known, x)[(SUPPORT == x).all(axis=1)][0])
    model = exact_model(process, told=True)
    x = toy.samples(SUPPORT, PROBABILITIES, 20_000, 0)
    inputs = {"tokens": x, "known": np.broadcast_to(known, x.shape)}
    nelbo = model.predict(inputs, batch_size=2000, verbose=0)
    error = nelbo.std() / len(nelbo) ** 0.5
    assert error < 0.03 and abs(nelbo.mean() - entropy) < 4 * error
    model.compile()
    bits = model.evaluate(inputs, batch_size=2000, verbose=0, return_dict=True)["bits_per_dim"]
    np.testing.assert_allclose(bits, nelbo.mean() / 3 / np.log(2), rtol=1e-4)  # 3 are not given


def test_prompts_as_text():
    model = exact_model(PROCESSES[0], tokenizer=ABC)
    start = "".join("abc"[i] for i in SUPPORT[0][:2])
    texts = model.generate(prompts=[start, "", start[0]], steps=8, seed=3)
    assert [len(t) for t in texts] == [5, 5, 5]
    assert texts[0].startswith(start) and texts[2].startswith(start[0])
    ids = model.generate(prompts=[SUPPORT[0][:2], [], [int(SUPPORT[0][0])]], steps=8, seed=3)
    assert ids.dtype == np.int32 and ABC.decode(ids) == texts
    assert texts == model.generate(prompts=[start, "", start[0]], steps=8, seed=3, batch_size=3)


def test_one_prompt_for_all_and_gaps():
    model = exact_model(PROCESSES[0], tokenizer=ABC)
    x = "".join("abc"[i] for i in SUPPORT[0])
    texts = model.generate(20, prompts=[[kd.Gap(3), x[3:]]], steps=8)
    assert len(texts) == 20 and {t[3:] for t in texts} == {x[3:]}
    ids = model.generate(20, prompts=[[kd.Gap(3), SUPPORT[0][3:]]], steps=8)
    assert ABC.decode(ids) == texts


@every_process
def test_a_gap_does_not_end_the_text(process):
    model = tiny_model(process)
    model = kd.DiffusionModel(model.denoiser, process, length=LENGTH, tokenizer=ABEND)
    model.denoiser.head.bias.assign(np.array([0.0, 0.0, 3.0]))  # ends are likely everywhere
    texts = model.generate(30, prompts=[["a", kd.Gap(2), "b"]], steps=3)
    assert all(len(t) >= 4 and t[0] == "a" and t[3] == "b" for t in texts)
    assert any(len(t) == 4 for t in texts)  # after the prompt they may
    assert any(len(t) < 4 for t in model.generate(30, prompts=["a"], steps=3))


def test_reading_prompts():
    conditions, texts = read_prompts(
        ["ab", [np.array([0]), kd.Gap(2), "b"], [1, 0]], None, 3, LENGTH, 3, ABEND
    )
    given, known, no_end = conditions.given, conditions.known, conditions.no_end
    assert texts
    assert given.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    assert known.astype(int).tolist() == [[1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [1, 1, 0, 0, 0]]
    assert no_end.astype(int).tolist() == [[0] * 5, [0, 1, 1, 0, 0], [0] * 5]
    assert read_prompts(["ab"], None, 1, LENGTH, 3, ABEND)[0].no_end is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": "ab"}, "must be a list, one prompt per sample"),
        ({"prompts": ["ab", "ac"], "n": 3}, "1 or 3 of them.*Received: 2"),
        (
            {"prompts": ["ab", "abcabc"]},
            "1 of 2 prompts have more tokens than a sample of 5.*index 1.*6",
        ),
        ({"prompts": ["abx"]}, r"lacks: \['x'\]"),
        ({"prompts": [[3, 0]]}, "ids from 0 to 2.*3"),
        ({"prompts": [np.zeros((2, 2), int)]}, "index 0.*shape \\(2, 2\\)"),
        ({"prompts": [np.zeros(2)]}, "index 0: float64"),
        ({"known": np.ones((1, 5), bool)}, "pass both"),
        ({"prompts": np.zeros((2, 5), int), "known": np.full((2, 5), 0.5)}, "float64"),
        ({"prompts": np.zeros((2, 4), int), "known": np.ones((2, 4), bool)}, r"\(2, 4\)"),
        ({"labels": 0, "guidance_scale": None, "prompts": [[kd.Gap(6)]]}, "sample of 5"),
        ({"guidance_scale": 2.0}, "`guidance_scale` strengthens `labels`"),
    ],
)
def test_wrong_prompts(arguments, message):
    model = exact_model(PROCESSES[0], tokenizer=ABC)
    with pytest.raises(ValueError, match=message):
        model.generate(steps=1, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": [[2**32 + 1]]}, "`prompts` must be ids from 0 to 2"),
        ({"prompts": [[-1]]}, "`prompts` must be ids"),
        ({"prompts": [1, 2, 0]}, "single one is .prompt."),
        ({"prompts": [[1], kd.Gap(2)]}, "single one is .prompt."),
        ({"prompts": np.array([1, 2])}, "must be a list"),
        ({"prompts": np.full((1, 5), 1.7), "known": np.ones((1, 5), bool)}, "must be integers"),
        ({"n": True}, "`n` must be an integer"),
        ({"n": 2, "steps": 1.0}, "`steps` must be an integer"),
        ({"n": 2, "batch_size": 0}, "`batch_size` must be an integer"),
        ({"n": 2, "batch_size": float("nan")}, "`batch_size` must be an integer"),
        ({"n": 2, "length": 0}, "`length` must be an integer"),
    ],
    ids=str,
)
def test_nothing_is_cast_before_it_is_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().generate(**{"steps": 1, **arguments})


def test_fractions_are_no_labels():
    with pytest.raises(ValueError, match="`labels` must be integers"):
        tiny_model(num_classes=2).generate(2, labels=0.5, steps=1)


@pytest.mark.parametrize(
    "wrong", [{"steps": "x"}, {"length": -3}, {"steps": 0}, {"label_dropout": 2.0}]
)
def test_wrong_models(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
        kd.DiffusionModel(tiny_model().denoiser, PROCESSES[0], **wrong)


@pytest.mark.parametrize("wrong", [{"num_heads": -2}, {"num_layers": -1}, {"dropout": 2.0}])
def test_wrong_networks(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
        kd.Denoiser(3, **wrong)


def test_more_wrong_prompts():
    with pytest.raises(ValueError, match="need a tokenizer"):
        tiny_model().generate(prompts=["ab"], steps=1)
    with pytest.raises(ValueError, match="`tokens` must be an integer of at least 1"):
        kd.Gap(0)
    with pytest.raises(ValueError, match="must lie in 0..1, or be 2 for none.*from 0 to 3"):
        tiny_model(num_classes=2).generate(2, labels=[0, 3])
    with pytest.raises(ValueError, match="tokenizer has 27 ids, but the process 3"):
        exact_model(PROCESSES[0], tokenizer=kd.tokenizers.CharacterTokenizer())
    with pytest.raises(ValueError, match="looks like noise.*prompts=True"):
        kd.DiffusionModel(kd.Denoiser(3), kd.UniformDiffusion(3), prompt_rate=0.5)
    with pytest.raises(ValueError, match=r"`prompt_rate` must be a number in \[0, 1\].*1.5"):
        kd.DiffusionModel(kd.Denoiser(3), kd.MaskedDiffusion(3), prompt_rate=1.5)
    with pytest.raises(ValueError, match="`label_dropout` needs a denoiser with labels"):
        kd.DiffusionModel(kd.Denoiser(3), kd.MaskedDiffusion(3), label_dropout=0.1)
    with pytest.raises(ValueError, match="`guidance_scale` needs a teacher with labels"):
        kd.DMMDDistiller(tiny_model(), guidance_scale=2.0)
    with pytest.raises(ValueError, match="takes no `known`"):
        kd.Denoiser(3)(np.zeros((1, 5), "int32"), np.zeros(1), known=np.ones((1, 5), bool))


# Training with prompts ----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_given_prefixes(rate):
    known = ops.convert_to_numpy(given_prefixes(4000, LENGTH, rate, 0))
    sizes = known.sum(axis=1)
    assert (known == (np.arange(LENGTH) < sizes[:, None])).all() and sizes.max() < LENGTH
    # 0 .. 4 tokens with equal chances, for a share of the rows.
    expected = rate / LENGTH * np.ones(LENGTH) + (1 - rate) * np.eye(LENGTH)[0]
    shares = np.bincount(sizes, minlength=LENGTH) / 4000
    assert np.abs(shares - expected).max() < 5 * 0.5 / 4000**0.5


@pytest.mark.parametrize(
    "process", [PROCESSES[0], pytest.param(PROCESSES[1], marks=ON_TORCH)], ids=repr
)
def test_a_model_learns_from_prompts_and_is_distilled_with_them(process):
    denoiser = small_model(process, prompts=True).denoiser
    model = kd.DiffusionModel(denoiser, process, length=LENGTH, prompt_rate=0.5, seed=1)
    model.compile(keras.optimizers.Adam(1e-2))
    x = toy.samples(SUPPORT, PROBABILITIES, 256, 0)
    before = model.evaluate(x, verbose=0)
    model.fit(x, epochs=3, verbose=0)
    assert model.evaluate(x, verbose=0) < before
    known_embedding = ops.convert_to_numpy(model.denoiser.known_embedding.vector)
    assert np.abs(known_embedding).max() > 0
    distiller = kd.DMMDDistiller(model, steps=2)
    distiller.compile()
    distiller.fit(x, verbose=0)
    assert distiller.student.prompt_rate == 0.5
    student_embedding = ops.convert_to_numpy(distiller.student.denoiser.known_embedding.vector)
    assert np.abs(student_embedding - known_embedding).max() > 0
    prompt = [SUPPORT[0][:2]]
    assert (distiller.student.generate(3, prompts=prompt, steps=2)[:, :2] == SUPPORT[0][:2]).all()


@pytest.mark.parametrize(
    "process", [PROCESSES[0], *(pytest.param(p, marks=ON_TORCH) for p in PROCESSES[1:])], ids=repr
)
def test_given_tokens_carry_no_loss_in_distillation(process):
    teacher = randomised(tiny_model(process, prompts=True))
    distiller = kd.DMMDDistiller(teacher, steps=2)
    # So that the student's advantage is not 0.
    randomised(distiller.critic, seed=1)
    x = toy.samples(SUPPORT, PROBABILITIES, 64, 0)
    all_known = {"tokens": x, "known": np.ones(x.shape, bool)}
    for values in distiller.predict(all_known, verbose=0).values():
        np.testing.assert_array_equal(values, 0.0)
    draw = distiller.draw({"tokens": x, "known": x == 1}, 0)
    for ids in (draw.x, draw.z_t, draw.z_s):
        assert (ops.convert_to_numpy(ids)[x == 1] == 1).all()
    some = distiller.predict({"tokens": x, "known": x == 1}, verbose=0)
    assert np.abs(some["student_loss"]).max() > 0 and some["critic_loss"].max() > 0


# Classes ------------------------------------------------------------------------------------------


@every_process
def test_guidance_is_an_extrapolation_of_log_probabilities(process):
    model = randomised(tiny_model(process, num_classes=2))
    z = np.array([[0, 1, 2, 0, 1], [2, 1, 0, 0, 0]])
    t, labels = np.array([0.3, 0.8], "float32"), np.array([0, 1])

    def logits(labels=None, **options):
        return np.float64(ops.convert_to_numpy(model.logits(z, t, Conditions(labels), **options)))

    def log_softmax(a):
        return a - np.log(np.exp(a).sum(axis=-1, keepdims=True))

    told, free = log_softmax(logits(labels=labels)), log_softmax(logits())
    for w in (0.0, 1.0, 3.0):
        guided = log_softmax(logits(labels=labels, guidance_scale=w))
        np.testing.assert_allclose(guided, log_softmax((1 - w) * free + w * told), atol=1e-5)
    assert np.abs(told - free).max() > 0.01
    np.testing.assert_allclose(logits(labels=np.array([2, 2])), logits(), atol=1e-6)


def labelled(n=512):
    """Class 0 is mostly token 0, class 1 mostly token 1, both with 2."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], n // 2)
    x = np.where(rng.random((n, LENGTH)) < 0.6, labels[:, None], 2)
    return {"tokens": x.astype("int32"), "labels": labels}


def share(model, label, **arguments):
    """Of the class's own token, 2,000 of them drawn at once: a second step would know the class."""
    draws = model.generate(400, steps=1, labels=label, **arguments)
    return (draws == label).mean()


@ON_TORCH
def test_guidance_strengthens_a_class_and_is_distilled():
    denoiser = tiny_model(num_classes=2).denoiser
    model = kd.DiffusionModel(denoiser, PROCESSES[0], length=LENGTH, label_dropout=0.3)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-2, 320)))
    data = labelled()
    model.fit(data, epochs=20, batch_size=32, verbose=0)
    # 0.6, 0, 0.4 given the class and 0.3, 0.3, 0.4 without it, so with w = 3 the odds of 0 to 2 are
    # 0.6³/0.3² to 0.4³/0.4², and its share 0.857; guidance triples what the network has wrong.
    assert abs(share(model, 0) - 0.6) < 0.1
    assert abs(share(model, 0, guidance_scale=1.0) - 0.6) < 0.1
    masks, start = np.full((1, LENGTH), PROCESSES[0].mask_id), np.ones(1, "float32")
    told, free = (
        np.float64(ops.convert_to_numpy(ops.softmax(model.logits(masks, start, Conditions(labels)))))
        for labels in (np.array([0]), None)
    )
    odds = told**3 / free**2
    guided = share(model, 0, guidance_scale=3.0)
    assert guided > 0.7
    assert abs(guided - (odds / odds.sum(-1, keepdims=True))[..., 0].mean()) < 0.05  # 4 errors
    unlabelled = model.generate(400, steps=1)
    assert abs((unlabelled == 0).mean() - 0.3) < 0.12  # hidden labels were learned from
    distiller = kd.DMMDDistiller(model, steps=2, guidance_scale=3.0, noise=None)
    distiller.compile()
    with pytest.raises(ValueError, match="`guidance_scale` strengthens labels, and the data have none"):
        distiller.fit(data["tokens"], batch_size=32, verbose=0)
    distiller.fit(data, epochs=15, batch_size=32, verbose=0)
    shares = [share(distiller.student, label) for label in (0, 1)]
    without = [share(model, label) for label in (0, 1)]
    assert np.mean(shares) > np.mean(without) + 0.05  # about 0.75 and 0.62


def test_hidden_labels():
    model = tiny_model(num_classes=2)
    model = kd.DiffusionModel(model.denoiser, PROCESSES[0], length=LENGTH, label_dropout=0.25)
    data = {"tokens": np.zeros((4000, LENGTH), "int32"), "labels": np.ones(4000, "int32")}
    conditions = corrupt_batch(model, data, np.full(4000, 0.5, "float32"), key()).conditions
    labels = ops.convert_to_numpy(conditions.labels)
    assert set(labels) == {1, 2} and abs((labels == 2).mean() - 0.25) < 5 * 0.43 / 4000**0.5
    assert conditions.known is None


# Keeping it ---------------------------------------------------------------------------------------


def test_a_model_keeps_its_tokenizer(tmp_path):
    model = tiny_model(prompts=True)
    model = kd.DiffusionModel(
        model.denoiser, PROCESSES[0], length=LENGTH, tokenizer=ABC, prompt_rate=0.25
    )
    texts = model.generate(prompts=["ab"], steps=3, seed=1)
    model.save(tmp_path / "model.keras")
    kd.presets.save_to_preset(model, tmp_path / "preset")
    for other in (
        keras.saving.load_model(tmp_path / "model.keras"),
        kd.from_preset(tmp_path / "preset"),
        model.copy(),
    ):
        assert other.tokenizer.get_config() == ABC.get_config() and other.prompt_rate == 0.25
        assert other.generate(prompts=["ab"], steps=3, seed=1) == texts
