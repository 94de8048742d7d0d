"""What is exported draws what `generate` draws: the functions, before they are files."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import backend, random
from keras_dmmd.exporting.graphs import KINDS, Prior, Sampler, Step
from keras_dmmd.sampling.grids import time_grid
from keras_dmmd.sampling.network_step import Settings
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.builders import ON_TORCH, SMALL, numpy, randomise, small_model, tiny_model

ROWS = 3
PLAINLY = {"jit_compile": False, "verbose": 0}  # XLA takes long on TensorFlow


def graph(kind, model, steps=2, sampler=None, **settings):
    stepper = kd.samplers.get(sampler)
    settings = {"temperature": 1.0, "top_p": None, "guidance_scale": None, **settings}
    return kind(
        model=model,
        stepper=stepper,
        grid=time_grid(steps),
        length=model.length,
        batch=None,
        settings=Settings.fixed(stepper, **settings),
    )


def inputs(graph, seed=7, **values):
    """Of `ROWS` rows of one seed, with nothing given, as tensors in order."""
    shape = (ROWS, graph.length)
    values = {
        "seeds": np.full(ROWS, seed, "int32"),
        "rows": np.arange(ROWS, dtype="int32"),
        "known": np.zeros(shape, bool),
        "given": np.zeros(shape, "int32"),
        "labels": np.zeros(ROWS, "int32"),
        **values,
    }
    return [keras.ops.convert_to_tensor(values[i.name], i.dtype) for i in graph.inputs]


def run(graph, **values):
    """Ids, numpy, of a function that is compiled as it would be in a file."""
    compiled = backend.compile_inference(graph, graph.model.variables, jit_compile=False)
    return numpy(compiled(*inputs(graph, **values)))


def shown_its_prediction():
    """With learned positions: where all masks look alike, ranks would hang on rounding."""
    return randomise(small_model(position="learned", length=5, self_conditioning=True))


def blocks():
    denoiser = randomise(kd.BlockDenoiser(4, block_size=2, **SMALL))
    tokenizer = CharacterTokenizer("abc", end=True)
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(4), length=6, tokenizer=tokenizer)


@pytest.mark.parametrize(
    "make, options",
    [
        (lambda: randomise(small_model(noise="gaussian")), {}),
        (lambda: randomise(small_model(kd.UniformDiffusion(3))), {"temperature": 0.7, "top_p": 0.8}),
        (tiny_model, {"top_p": 0.8}),
        pytest.param(shown_its_prediction, {"sampler": "confidence"}, marks=ON_TORCH),
        pytest.param(blocks, {}, marks=ON_TORCH),
    ],
    ids=["noise", "uniform", "nucleus", "confidence", "blocks"],
)
def test_a_sampler_draws_what_generate_draws(make, options):
    model = make()
    made = graph(Sampler, model, **options)
    found = run(made)
    expected = model.generate(ROWS, steps=2, seed=7, **PLAINLY, **options)
    np.testing.assert_array_equal(found, expected)


def test_what_is_given_stays_and_each_row_has_a_seed_of_its_own():
    model = randomise(small_model(num_classes=2))
    made = graph(Sampler, model, guidance_scale=2.0)
    known = np.zeros((ROWS, 5), bool)
    known[:, 1:3] = True
    given = np.full((ROWS, 5), 2, "int32")
    labels = np.array([0, 1, 1], "int32")
    seeds, rows = np.array([3, -5, 3], "int32"), np.array([0, 4, 1], "int32")
    found = run(made, known=known, given=given, labels=labels, seeds=seeds, rows=rows)
    for i in range(ROWS):
        expected = model.generate(
            5,
            steps=2,
            seed=int(seeds[i]),
            prompts=np.repeat(given[i : i + 1], 5, axis=0),
            known=np.repeat(known[i : i + 1], 5, axis=0),
            labels=int(labels[i]),
            guidance_scale=2.0,
            **PLAINLY,
        )
        np.testing.assert_array_equal(found[i], expected[rows[i]])


@ON_TORCH
def test_blocks_go_on_after_an_end_that_is_given():
    model = blocks()
    prompt = [0, 3, 1]
    known = np.broadcast_to(np.arange(6) < 3, (ROWS, 6))
    given = np.broadcast_to(np.array([*prompt, 0, 0, 0], "int32"), (ROWS, 6))
    found = run(graph(Sampler, model), known=known, given=given)
    expected = model.generate(ROWS, steps=2, seed=7, prompts=[prompt], **PLAINLY)
    np.testing.assert_array_equal(found, expected)
    assert (found[:, 3:] != 3).any()


def test_steps_in_a_loop_are_the_sampler():
    """Of fewer calls than the step was made for, too: a call's numbers do not depend on how many."""
    model = randomise(small_model(kd.UniformDiffusion(3)))
    step, prior = graph(Step, model, steps=4), graph(Prior, model, steps=4)
    z = run(prior)
    times = time_grid(2)
    for call in range(2):
        own = {"z": z, "t": times[call], "s": times[call + 1], "call": call}
        z = run(step, **own)
    np.testing.assert_array_equal(z, model.generate(ROWS, steps=2, seed=7, **PLAINLY))


def test_keys_of_many_seeds_are_those_of_each():
    """Negative ones, too, and of odd numbers of keys: TensorFlow's kernels take one at a time."""
    seeds = np.array([0, 1, -1, 2**31 - 1, -(2**31)], "int32")
    for n in (2, 5):
        found = [
            numpy(key) for key in random.split(random.seed_keys(keras.ops.convert_to_tensor(seeds)), n)
        ]
        for i, seed in enumerate(seeds):
            for own, key in zip(random.split(int(seed), n), found, strict=True):
                rows = keras.ops.convert_to_tensor([3])
                expected = random.uniform((1, 4), random.row_keys(own, rows))
                key = keras.ops.convert_to_tensor(key[i : i + 1])
                many = random.uniform((1, 4), random.row_keys(key, rows))
                np.testing.assert_array_equal(numpy(many), numpy(expected))


def test_every_kind_says_what_it_takes():
    model = small_model(num_classes=2)
    for kind in KINDS.values():
        names = [i.name for i in graph(kind, model).inputs]
        assert names[-5:] == ["seeds", "rows", "known", "given", "labels"]


@ON_TORCH
@pytest.mark.parametrize("sampler", ["confidence", "entropy_bound"])
def test_what_compares_tokens_is_written_for_any_number_of_rows(sampler, tmp_path):
    """Gathering must not make the number of rows by which a graph is traced its own."""
    torch = pytest.importorskip("torch")
    model = shown_its_prediction()
    path = str(tmp_path / "sampler.pt2")
    kd.export(model, path, steps=1, sampler=sampler)
    made = graph(Sampler, model, steps=1, sampler=sampler)
    run_file = torch.export.load(path).module()
    np.testing.assert_array_equal(run_file(*inputs(made)).numpy(), run(made))
