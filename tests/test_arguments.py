"""Bad arguments are refused at once, in words that name them; `benchmarks/fuzz.py` tries many more."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import (
    callbacks,
    checks,
    datasets,
    losses,
    metrics,
    models,
    random,
    samplers,
    tokenizers,
)
from tests.builders import SMALL, distiller, numpy, small_model, tokens

NAN, INF = float("nan"), float("inf")
TOKENIZER = tokenizers.CharacterTokenizer("ab", end=True)  # as many ids as the small model has
X = tokens(8)


class Lazy(dict):
    """Models that many cases share, made when they are asked for."""

    MAKERS = {
        "model": lambda: compiled(),
        "labelled": lambda: compiled(num_classes=2),
        "distiller": lambda: distiller(),
    }

    def __missing__(self, name):
        self[name] = self.MAKERS[name]()
        return self[name]


def compiled(**kwargs):
    model = small_model(**kwargs)
    model.compile()
    return model


@pytest.fixture(scope="module")
def made():
    return Lazy()


def arguments(bad):
    """Parameters of a test: a name, and values that are refused in a message with it."""
    return pytest.mark.parametrize(("name", "values"), bad.items(), ids=bad)


def refused(name, values, call):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}`"):
            call(value)


PROMPTS = ["ab", 3, {}, [], [1, 2, 3], np.array([1, 2]), [None], [[1.7]], [[True]], [b"a"]]
PROMPTS += [[kd.Gap(2)], ["a", kd.Gap(2)], [[3]], [[-1]], [[2**32 + 1]]]
COUNTS = [0, -1, 2.5, NAN, "a", True, 10**12, [1]]


@arguments(
    {
        "batch_size": COUNTS,
        "epochs": [-1, 1.5, "a"],
        "initial_epoch": [-1, "a"],
        "steps_per_epoch": COUNTS,
        "validation_steps": [0, "a"],
        "validation_batch_size": [0, NAN],
        "validation_freq": [0, "a", [0]],
        "validation_split": [-0.5, 1.0, NAN, "a"],
        "validation_data": [3, "a", (X, None, np.ones((8, 5))), X + 3, (X,) * 4, (None, X), [None] * 2],
        "callbacks": [3, [3], "a"],
        "class_weight": [{0: 1.0}],
        "sample_weight": [np.ones((8, 5)), "a", [NAN] * 8, [[1], [1, 2]], np.ones(7)],
        "shuffle": ["a", 3],
        "verbose": ["a", -1, []],
    }
)
def test_of_fit(made, name, values):
    model, before = made["model"], made["model"].get_weights()
    refused(name, values, lambda value: model.fit(X, **{"verbose": 0, name: value}))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("x", [None, {"tokens": None}, {"tokens": "abc"}, [["a"]], X[:, :0], 3, "abc"])
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "train_on_batch", "predict_on_batch"])
def test_data_that_are_none(made, method, x):
    with pytest.raises(ValueError, match="x=|`x`|`tokens`|'tokens'|shape"):
        getattr(made["model"], method)(x)


def test_steps_of_evaluate_and_predict(made):
    for method in (made["model"].evaluate, made["model"].predict):
        for name in ("batch_size", "steps"):
            for value in (0, -1, NAN, "a"):
                with pytest.raises(ValueError, match=f"`{name}`"):
                    method(X, verbose=0, **{name: value})
    with pytest.raises(ValueError, match="corruptions=2000000000 would take"):
        made["model"].evaluate(np.repeat(X, 100, axis=0), corruptions=2 * 10**9, verbose=0)


@arguments(
    {
        "n": COUNTS,
        "steps": COUNTS,
        "length": COUNTS,
        "max_length": COUNTS,
        "stop_token_ids": ["a", 1, [-1], [3], [0.5], [NAN], [[0]], ["a"], {}, {0}],
        "batch_size": COUNTS,
        "seed": [None, 1.5, "a", True, [1], np.array([1, 2]), {}, (), object()],
        "temperature": [-1, NAN, INF, 1e300, "a", None, [1.0], True],
        "top_p": [0, 2, NAN, "a", [0.5], 1e-60],
        "prompts": PROMPTS,
        "labels": [0, [0]],
        "guidance_scale": [NAN, INF, "a"],
        "sampler": ["a", 3, {}, samplers.Ancestral],
        "times": ["a", 3, [], [1, NAN, 0], ["a", 0], [[1, 0]], [1, [0]], {}],
        "jit_compile": ["a", [], None, 3],
        "verbose": ["a", []],
        "trajectory": ["a", None],
    }
)
def test_of_generate(made, name, values):
    refused(name, values, lambda value: made["model"].generate(**{name: value}))


@pytest.mark.parametrize(
    ("prompts", "known"),
    [
        (X, np.zeros((8, 4), bool)),
        (X, np.full((8, 5), 0.5)),
        (X, "a"),
        (X, [[True], [True, False]]),
        (np.zeros((8, 2, 5), int), np.zeros((8, 2, 5), bool)),
        (None, np.zeros((8, 5), bool)),
    ],
)
def test_known_tokens_of_generate(made, prompts, known):
    with pytest.raises(ValueError, match="`known`"):
        made["model"].generate(8, prompts=prompts, known=known)


def test_known_tokens_may_be_ones_and_prompts_tensors(made):
    """What `fit` takes, `generate` takes."""
    known = np.zeros((8, 5))
    known[:, :2] = 1
    samples = made["model"].generate(8, steps=1, prompts=ops.convert_to_tensor(X), known=known)
    np.testing.assert_array_equal(samples[:, :2], X[:, :2])
    samples = made["model"].generate(8, steps=1, prompts=ops.convert_to_tensor(X[:, :2]))
    np.testing.assert_array_equal(samples[:, :2], X[:, :2])


def test_more_samples_than_memory(made):
    with pytest.raises(ValueError, match="n=2000000000 samples of length=10000.*GiB"):
        made["model"].generate(2 * 10**9, length=10_000)


@pytest.mark.parametrize("label", [3, -1, 0.5, "a", NAN, [0, 1]])
def test_labels_of_generate(made, label):
    with pytest.raises(ValueError, match="`labels`"):
        made["labelled"].generate(1, labels=label)


@arguments(
    {
        "vocabulary_size": COUNTS[1:] + [None],
        "num_states": [0, 2, "a"],
        "hidden_dim": COUNTS,
        "num_layers": [*COUNTS, 10**9],
        "num_heads": [-2, 0, 3, "a"],
        "mlp_dim": [0, -1, "a"],
        "cond_dim": [0, "a"],
        "position": ["a", None, 3],
        "length": [0, "a"],
        "grid": [3, (3,), (0, 3), (3, -1), "ab", (2.5, 2), (2, 2, 2)],
        "num_classes": [0, -1, True, "a"],
        "prompts": ["no", None],
        "num_frequencies": [0, "a", 10**9],
        "norm_epsilon": [0, -1, NAN, "a"],
        "schedule": ["a", {}, 3],
        "noise": ["a", [], {}, 3],
        "dropout": [1.0, -0.5, NAN, "a"],
    }
)
def test_of_a_denoiser(name, values):
    argument = {"schedule": "time_schedule"}.get(name, name)
    given = {"vocabulary_size": 3, **SMALL}
    refused(name, values, lambda value: kd.Denoiser(**{**given, argument: value}))


def test_a_denoiser_beyond_memory():
    with pytest.raises(ValueError, match="hidden_dim=1000000.* GiB"):
        kd.Denoiser(3, hidden_dim=10**6, num_heads=2)


def test_sizes_may_be_of_numpy():
    denoiser = kd.Denoiser(np.int64(3), hidden_dim=np.uint8(16), num_layers=np.int8(1), num_heads=2)
    assert type(denoiser.get_config()["hidden_dim"]) is int


@arguments(
    {
        "denoiser": [None, 3, keras.layers.Embedding(3, 3)],
        "process": [None, 3],
        "length": COUNTS,
        "steps": COUNTS,
        "sampler": [3, {}],
        "tokenizer": [3, {}, "a"],
        "label_dropout": [-0.5, NAN, "a"],
        "prompt_rate": [2.0, NAN, None],
        "seed": [None, 1.5, "a", True],
    }
)
def test_of_a_model(made, name, values):
    own = {"denoiser": made["model"].denoiser, "process": made["model"].process}
    refused(name, values, lambda value: kd.DiffusionModel(**{**own, name: value}))


@pytest.mark.parametrize("seed", [-5, 2**32 - 1, 2**70, np.int64(7)])
def test_any_integer_is_a_seed(seed):
    """And repeats: the draws of training and evaluation are functions of it."""
    losses_ = []
    for _ in range(2):
        model = small_model(seed=seed)
        losses_.append(np.stack([numpy(model(X, training=training)) for training in (True, False)]))
    np.testing.assert_allclose(*losses_, rtol=1e-6)


@arguments(
    {
        "steps": COUNTS,
        "critic_steps": COUNTS,
        "renoise": ["a", 3, [], None],
        "target": ["a", None],
        "teacher_weight": [-1, NAN, INF, "a"],
        "temperature": [0, NAN, INF, "a"],
        "top_p": [0, "a"],
        "top_p_penalty": [0, INF, "a"],
        "guidance_scale": [NAN, "a"],
        "time_weighting": ["a", 3, lambda: 0, lambda s: 1.0],
        "max_log_ratio": [0, NAN, "a"],
        "noise_scale": [-1, NAN, INF, None, True, "a", [0.5], {}, np.ones(2), np.array(["auto", "a"])],
        "seed": [1.5, "a", None],
        "teacher": [None, 3],
        "student": [3],
    }
)
def test_of_a_distiller(made, name, values):
    given = {"teacher": made["model"]}
    refused(name, values, lambda value: kd.DMMDDistiller(**{**given, name: value}))


@arguments(
    {
        "rounds": COUNTS,
        "warmup": [-1, 10, "a"],
        "critic_steps": [0, "a"],
        "learning_rate": [-1, NAN, "a"],
    }
)
def test_of_optimizers(name, values):
    refused(name, values, lambda value: kd.annealed_optimizers(**{"rounds": 10, name: value}))


REAL = np.unique(X, axis=0)
HALF = np.full(2, 0.5)
TABLE = np.ones((1, 2, 3), "float32")
OTHERS = {
    "steps_per_execution": lambda: small_model().compile(steps_per_execution=0),
    "run_eagerly": lambda: small_model().compile(run_eagerly="a"),
    "input_shape": lambda: small_model().build("abc"),
    "power": lambda: kd.schedules.PolynomialSchedule("a"),
    "epsilon": lambda: kd.schedules.LogLinearSchedule(1.0 - 1e-12),
    "uniform_share": lambda: kd.HybridDiffusion(3, uniform_share=NAN),
    "prediction": lambda: kd.UniformDiffusion(3, prediction=[]),
    "threshold": lambda: samplers.Threshold("a"),
    "strategy": lambda: samplers.Remasking([]),
    "stability_threshold": lambda: samplers.EntropyBound(stability_threshold=1.5),
    "randomness": lambda: samplers.Confidence(randomness=INF),
    "tokens": lambda: kd.Gap("a"),
    "probabilities": lambda: metrics.total_variation([[0]], [[0], [1]], [2.5, 2.5]),
    "support": lambda: metrics.total_variation([[0]], [[0], [0]], HALF),
    "every": lambda: callbacks.SampleAndScore([], every=NAN),
    "metrics": lambda: callbacks.SampleAndScore([len]),
    "documents": lambda: datasets.pack(None, TOKENIZER, 8),
    "tokenizer": lambda: datasets.pack(["a"], None, 8),
    "held_out": lambda: datasets.split(["a"], held_out="a"),
    "path": lambda: datasets.load_text(None),
    "separator": lambda: datasets.load_text(__file__, separator=""),
    "levels": lambda: datasets.load_fashion_mnist(levels="a"),
    "ids": lambda: TOKENIZER.decode([1.5]),
    "texts": lambda: TOKENIZER.encode_batch(None, 8),
    "length": lambda: TOKENIZER.encode_batch(["a"], -1),
    "characters": lambda: tokenizers.CharacterTokenizer([["a"]]),
    "symbols": lambda: tokenizers.SmilesTokenizer(3),
    "end": lambda: tokenizers.ByteTokenizer(end="no"),
    "definition": lambda: tokenizers.BytePairTokenizer(3),
    "vocabulary_size": lambda: tokenizers.BytePairTokenizer.train(["a"], 10**12),
    "values": lambda: metrics.mean_and_error([]),
    "vocabulary": lambda: metrics.known_words(["a b c"], 3),
    "molecules": lambda: metrics.score_molecules([3], k=1),
    "k": lambda: metrics.score_molecules(["C"], k=0),
    "first": lambda: metrics.frechet_distance(3, 4),
    "features": lambda: metrics.FeatureStatistics("a"),
    "n": lambda: metrics.Repetition(0),
    "block_size": lambda: metrics.KernelDistance(lambda ids: ids, X, block_size=1),
    "function": lambda: metrics.SampleScore(3, "a"),
    "name": lambda: metrics.UnigramEntropy(name=3),
    "scale": lambda: metrics.Note("a", scale="cubic"),
    "model": lambda: metrics.BitsPerToken(3),
    "reference": lambda: metrics.BitsPerCharacter(3),
    "grid": lambda: metrics.ImageFeatures(3, 4),
    "channels": lambda: metrics.ImageFeatures((4, 4), 4, channels=0),
    "num_layers": lambda: models.CausalConvolution(3, num_layers=99),
    "symbols ": lambda: models.TokenNoise(8, symbols=0),
    "shape": lambda: random.uniform((-2,), 0),
    "maximum": lambda: random.randint((2,), 0, 0),
    "batch_size": lambda: random.stratified("a", 0),
    "teacher_cost": lambda: losses.student_loss(
        np.ones((1, 2, 3)), np.ones((1, 3)), np.ones((1, 2, 3))
    ),
    "critic_cost": lambda: losses.critic_loss(TABLE, 3.0),
}


def scored(function):
    metric = metrics.SampleScore(function, "score")
    metric.update_state(X)
    return metric.result()


FUNCTIONS = {
    "features": lambda function: metrics.KernelDistance(function, X),
    "features ": lambda function: metrics.FrechetDistance(function, X),
    "function": scored,
    "statistics_of": lambda function: metrics.frechet_by_steps(
        small_model(), function, metrics.FeatureStatistics(X), [1], samples=2
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("function", [int, lambda ids: ids["tokens"], lambda: 0, lambda ids: 1 / 0])
def test_functions_that_fail_are_named(name, function):
    """With what they were given and what they raised, whose traceback is kept."""
    with pytest.raises(ValueError, match=rf"`{name.strip()}`.*shape \(\d, 5\).*Error: ") as error:
        FUNCTIONS[name](function)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize("found", ["a", None, [1.0, 2.0], {"a": "b"}, (1.0, None)])
def test_scores_that_are_no_numbers(found):
    with pytest.raises(ValueError, match="`function`"):
        scored(lambda ids: found)


@pytest.mark.parametrize("name", OTHERS)
def test_of_others(name):
    with pytest.raises(ValueError, match=f"`{name.strip()}`"):
        OTHERS[name]()


@pytest.mark.parametrize(
    "documents",
    [[None], [b"ab"], b"ab", [[1.7, 0]], [[1, 99]], [[-1]], [[2**32]], [[[0, 1]]], [0], "ab", {"a": 1}],
)
def test_documents_that_are_none(documents):
    with pytest.raises(ValueError, match="`documents`"):
        datasets.pack(documents, TOKENIZER, 1)


@pytest.mark.parametrize(
    "encode",
    [
        TOKENIZER.encode,
        tokenizers.ByteTokenizer().encode,
        lambda text: tokenizers.ByteTokenizer().encode_batch([text], 8),
        lambda text: datasets.pack([text], tokenizers.ByteTokenizer(), 1),
        tokenizers.CharacterTokenizer,
        datasets.text8,
    ],
)
def test_lone_surrogates(encode):
    with pytest.raises(ValueError, match="character 1 is a lone surrogate|a single|lone surrogate"):
        encode("a\ud800")


@arguments(
    {
        "models": [None, {}, [1], {3: None}, {"a": 3}],
        "steps": [None, 3, [], [2.7], ["a"], [1, 1], "12"],
        "metrics": [3, [], [len], metrics.UnigramEntropy()],
        "temperatures": [1.0, ["a"], [-1], [NAN]],
        "seeds": [3, [0, 0.5], [True], []],
        "samples": COUNTS,
        "samplers": ["ancestral", 3, []],
        "shown": [-1, "a"],
        "title": [3, "\ud800"],
        "folder": [3, ""],
        "reference_data": ["a", X[:, :3], np.tile(X + 3, (9, 1)), np.tile(X * 0.5, (9, 1))],
        "verbose": ["a"],
        "length": [0, "a"],
    }
)
def test_of_a_sweep(made, name, values):
    given = {"models": {"a": made["model"]}, "steps": [1], "metrics": [metrics.UnigramEntropy()]}
    given |= {"samples": 2, "verbose": 0}
    refused(name, values, lambda value: kd.evaluate(**{**given, name: value}))


def test_names_of_models_are_text(made):
    with pytest.raises(ValueError, match="`models`"):
        kd.evaluate({"\ud800": made["model"]}, [1], [metrics.UnigramEntropy()], samples=2)


class Vague:
    """What cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no")


def test_what_was_given_is_shown_in_few_words():
    for value in (10**5000, Vague(), "a" * 10**6, list(range(10**6))):
        with pytest.raises(ValueError, match="`name` must be") as error:
            checks.count("name", value)
        assert len(str(error.value)) < 500
