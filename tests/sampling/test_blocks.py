"""Block after block: the exact denoiser of blocks, by enumeration."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import ON_TORCH, PROCESSES, all_on_torch, randomise
from tests.oracles import toy
from tests.oracles.exact_blocks import ExactBlockDenoiser
from tests.oracles.exact_denoiser import ExactDenoiser

SIZE, LENGTH = 2, 6
SUPPORT, PROBABILITIES = toy.random_modes(1, length=LENGTH)
every_process = pytest.mark.parametrize("process", PROCESSES, ids=repr)


def exact_model(process, **kwargs):
    denoiser = ExactBlockDenoiser(SUPPORT, PROBABILITIES, process, block_size=SIZE, **kwargs)
    return kd.DiffusionModel(denoiser, process, length=LENGTH)


def network(process=None, length=LENGTH, **kwargs):
    process = process or kd.MaskedDiffusion(3)
    denoiser = kd.BlockDenoiser(
        3, process.num_states, block_size=SIZE, hidden_dim=16, num_layers=1, num_heads=2, **kwargs
    )
    return kd.DiffusionModel(randomise(denoiser), process, length=length)


@all_on_torch("process", PROCESSES)
def test_samples_follow_the_data(process):
    model = exact_model(process)
    draws = model.generate(10_000, steps=32, seed=1, verbose=0)
    assert kd.metrics.total_variation(draws, SUPPORT, PROBABILITIES) < 0.04
    # A block a call: only within blocks do tokens not agree, which whole sequences do far worse.
    blocks = kd.metrics.total_variation(model.generate(10_000, steps=1), SUPPORT, PROBABILITIES)
    whole = ExactDenoiser(SUPPORT, PROBABILITIES, process)
    whole = kd.DiffusionModel(whole, process, length=LENGTH).generate(10_000, steps=1)
    assert blocks < kd.metrics.total_variation(whole, SUPPORT, PROBABILITIES) - 0.1


@pytest.mark.parametrize("process", [PROCESSES[0], PROCESSES[2]], ids=repr)
def test_prompts(process):
    """A prompt that ends inside of a block: the rest follows the conditional distribution."""
    model = exact_model(process, prompts=True)
    x = SUPPORT[np.argmax(PROBABILITIES)]
    draws = model.generate(5_000, steps=32, prompts=[x[:3]], verbose=0)
    assert (draws[:, :3] == x[:3]).all()
    p = PROBABILITIES * (SUPPORT[:, :3] == x[:3]).all(axis=1)
    assert kd.metrics.total_variation(draws, SUPPORT, p / p.sum()) < 0.04


def test_given_blocks_cost_no_call():
    model = network()
    _, calls = model.generate(4, steps=3, return_calls=True)
    assert (calls == 9).all()
    prompts = [[0, 1, 2, 2], [1, 1, 0, 0]]
    result, calls = model.generate(prompts=prompts, steps=3, return_calls=True)
    assert (calls == 3).all()
    np.testing.assert_array_equal(result[:, :4], prompts)
    # One row has its first block, which the other one has yet to fill.
    _, calls = model.generate(prompts=[[0, 1, 2], [1]], steps=3, return_calls=True)
    np.testing.assert_array_equal(calls, [6, 9])


def test_longer_than_in_training_and_traced_once():
    model = network()
    assert model.generate(3, steps=2, length=20).shape == (3, 20)
    if keras.backend.backend() != "torch":
        assert model.trace_count == 1  # ten blocks
    assert model.generate(3, steps=2, length=SIZE).shape == (3, SIZE)


@every_process
def test_trajectory(process):
    model = network(process)
    path = model.generate(5, steps=4, trajectory=True, seed=2)
    assert path.shape == (13, 5, LENGTH)
    np.testing.assert_array_equal(path[-1], model.generate(5, steps=4, seed=2))
    for i in range(3):  # a block is noise until its turn, and finished after it
        here = slice(i * SIZE, (i + 1) * SIZE)
        assert (path[: 4 * i + 1, :, here] == path[0, :, here]).all()
        assert (path[4 * i + 4 :, :, here] == path[-1, :, here]).all()


def test_trajectory_of_chunks_that_are_given_different_blocks():
    """A block counts as given where it is in every row, not in those that are drawn together."""
    prompts = [[0, 1], [0]]
    path = network().generate(prompts=prompts, steps=2, batch_size=1, trajectory=True)
    assert path.shape == (7, 2, LENGTH)
    path = network().generate(prompts=[[0, 1], [0, 2, 1]], steps=2, batch_size=1, trajectory=True)
    assert path.shape == (5, 2, LENGTH)


@pytest.mark.parametrize(
    ("process", "self_conditioning"),
    [
        (PROCESSES[0], False),
        pytest.param(PROCESSES[-1], True, marks=ON_TORCH),
    ],
    ids=repr,
)
def test_distillation_takes_blocks_to_blocks(process, self_conditioning):
    x = toy.samples(SUPPORT, PROBABILITIES, 64, 0)
    teacher = network(process, self_conditioning=self_conditioning)
    distiller = kd.DMMDDistiller(teacher, steps=2)
    distiller.compile()
    before = [w.copy() for w in distiller.student.get_weights()]
    logs = distiller.fit(x, epochs=2, batch_size=32, verbose=0).history
    assert np.isfinite([v for values in logs.values() for v in values]).all()
    assert any((a != b).any() for a, b in zip(before, distiller.student.get_weights(), strict=True))
    assert distiller.student.capabilities.block_size == SIZE and distiller.student.generate(
        4
    ).shape == (4, LENGTH)
    with pytest.raises(ValueError, match="student.*blocks of 6.*of 2"):
        other = kd.BlockDenoiser(
            3, process.num_states, block_size=6, hidden_dim=16, num_layers=1, num_heads=2
        )
        student = kd.DiffusionModel(other, teacher.process, length=LENGTH)
        kd.DMMDDistiller(teacher, student)


@pytest.mark.long_compilation
@pytest.mark.parametrize("self_conditioning", [False, True])
def test_a_teacher_of_blocks_learns(self_conditioning):
    """Rows of one symbol: the second block has to look at the first, which may be any."""
    symbols = np.random.default_rng(0).integers(0, 3, (512, 1)).astype("int32")
    teacher = network(kd.MaskedDiffusion(3), length=2 * SIZE, self_conditioning=self_conditioning)
    teacher.compile(keras.optimizers.Adam(1e-2))
    teacher.fit(np.repeat(symbols, 2 * SIZE, axis=1), batch_size=64, epochs=30, verbose=0)
    draws = teacher.generate(200, steps=32, seed=0)  # seldom two tokens in one of them
    assert (draws[:, :1] == draws).all(axis=1).mean() > 0.8  # 0.33 without a look
    assert set(draws[:, 0]) == {0, 1, 2}


def test_the_model_measures_blocks_given_those_before():
    """`predict` and `evaluate` hand the clean tokens on, whose entropy the bound then is."""
    x = toy.samples(SUPPORT, PROBABILITIES, 20_000, 0)
    nelbo = exact_model(PROCESSES[0]).predict(x, batch_size=2000, verbose=0)
    entropy = -(PROBABILITIES * np.log(PROBABILITIES)).sum()
    error = nelbo.std() / len(nelbo) ** 0.5
    assert error < 0.03 and abs(nelbo.mean() - entropy) < 4 * error


def test_after_every_text_has_ended_there_are_no_calls():
    """The rest of a row is the end token, which stands for nothing."""
    tokenizer = kd.tokenizers.CharacterTokenizer("ab", end=True)
    process = kd.MaskedDiffusion(3)
    denoiser = kd.BlockDenoiser(3, 4, block_size=2, hidden_dim=8, num_layers=1, num_heads=1)
    model = kd.DiffusionModel(denoiser, process, length=6, tokenizer=tokenizer)
    model.build((None, 6))
    end = tokenizer.end_id

    def run(bias):
        denoiser.head.bias.assign(bias)
        return model.generate(3, steps=3, seed=0, length=10, return_calls=True)

    draws, calls = run([-9.0, -9.0, 9.0])
    assert (draws == end).all() and (calls == 3).all()
    draws, calls = run([9.0, -9.0, -9.0])
    assert (draws == 0).all() and (calls == 15).all()
    denoiser.head.bias.assign([-9.0, -9.0, 9.0])
    texts, calls = model.generate(prompts=["", "abba"], steps=3, length=10, return_calls=True)
    assert texts == ["", "abba"]
    np.testing.assert_array_equal(calls, [3, 3])  # the first block, and the third

    # Of a row that has ended the rest does not depend on the other rows.
    denoiser.head.bias.assign([0.0, 0.0, 0.0])
    draws, calls = model.generate(40, steps=2, length=10, return_calls=True)
    ended = (draws.reshape(40, 5, 2) == end).any(axis=2)
    blocks = np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, 5)
    assert len(set(blocks)) > 2
    np.testing.assert_array_equal(calls, 2 * blocks)
    for row, number in zip(draws, blocks, strict=True):
        assert (row[2 * number :] == end).all()
    np.testing.assert_array_equal(model.generate(40, steps=2, length=10, batch_size=1), draws)
    path = model.generate(40, steps=2, length=10, trajectory=True)
    np.testing.assert_array_equal(path[-1], draws)


@pytest.mark.skipif(not backend.COMPILES, reason="nothing is compiled")
def test_texts_of_many_lengths_share_few_steps():
    """A cache has room for few lengths; what is not filled of it changes nothing."""
    model = network(length=12)
    texts = [model.generate(4, length=length, steps=2, seed=1) for length in (6, 8, 10, 12, 9 * SIZE)]
    assert model.trace_count == 3  # with room for 8, 12 and 24 tokens
    for text in texts:
        np.testing.assert_array_equal(text[:, :SIZE], texts[0][:, :SIZE])
