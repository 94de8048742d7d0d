"""Where samples end, in KerasHub's words: `max_length` and `stop_token_ids`.

All of it is numpy; what it stands on, in `test_blocks.py`, runs on every backend.
"""

import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import ON_TORCH, tiny_model
from tests.sampling.test_blocks import network

pytestmark = ON_TORCH
ABEND = kd.tokenizers.CharacterTokenizer("ab", end=True)  # id 2 ends a text
ABC = kd.tokenizers.CharacterTokenizer("abc")


def with_tokenizer(model, tokenizer):
    return kd.DiffusionModel(model.denoiser, model.process, length=model.length, tokenizer=tokenizer)


def closed(rows, stops, fill, given=0):
    """Row by row, token by token: the first stop after what is given ends a row."""
    rows, sizes = rows.copy(), []
    for row in rows:
        ends = [i + 1 for i in range(given, len(row)) if row[i] in stops]
        sizes.append(min(ends, default=len(row)))
        row[sizes[-1] :] = fill
    return rows, sizes


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_a_sample_is_filled_after_the_first_stop(model):
    plain = model.generate(12, steps=3, seed=1)
    for stops, fill in (([1], 1), ((2, 0), 2), (np.array([0, 1, 2]), 0)):
        found = model.generate(12, steps=3, seed=1, stop_token_ids=stops)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, closed(plain, stops, fill)[0])
    for nothing in (None, (), "auto"):  # a model without a tokenizer
        np.testing.assert_array_equal(
            model.generate(12, steps=3, seed=1, stop_token_ids=nothing), plain
        )
    path = model.generate(12, steps=3, seed=1, stop_token_ids=[1], trajectory=True)
    np.testing.assert_array_equal(path[-1], closed(plain, [1], 1)[0])
    assert (path[0] == 3).all()  # masks


def test_texts_end_with_the_stop(model):
    prompts = ["ab"]
    for tokenizer, fill in ((ABEND, 2), (ABC, 0)):
        own = with_tokenizer(model, tokenizer)
        ids = own.generate(12, steps=3, prompts=[[0, 1]], seed=4)
        ids, sizes = closed(ids, [0], fill, given=2)
        stopped = own.generate(12, steps=3, prompts=[[0, 1]], seed=4, stop_token_ids=[0])
        np.testing.assert_array_equal(stopped, ids)
        assert min(sizes) > 2 and max(sizes) == 5  # what is given ends nothing, and some go on
        texts = own.generate(12, steps=3, prompts=prompts, seed=4, stop_token_ids=[0])
        assert texts == [tokenizer.decode(row[:n]) for row, n in zip(ids, sizes, strict=True)]
        assert any(text.endswith("a") for text in texts)


def test_no_sample_ends_before_a_given_part(model):
    prompts = [[[0], kd.Gap(2), [1, 2]]]
    plain = model.generate(12, steps=3, prompts=prompts, seed=2)
    found = model.generate(12, steps=3, prompts=prompts, seed=2, stop_token_ids=[0, 1, 2])
    np.testing.assert_array_equal(found, plain)


def test_max_length_is_a_length(model):
    short = model.generate(3, steps=2, max_length=4, seed=1)
    np.testing.assert_array_equal(short, model.generate(3, steps=2, length=4, seed=1))
    for asked in ({"length": 4, "max_length": 4}, {"max_length": 0}, {"max_length": "a"}):
        with pytest.raises(ValueError, match="`max_length`"):
            model.generate(3, steps=2, **asked)
    with pytest.raises(ValueError, match="more tokens than a sample of 3"):
        model.generate(prompts=[[0, 1, 2, 0]], max_length=3)


def test_blocks_may_be_cut_and_stop():
    """The last block is cut; a row that has ended takes no more calls; the rest is as if it went on."""
    model = network()
    whole = model.generate(10, steps=2, length=8, seed=3)
    np.testing.assert_array_equal(model.generate(10, steps=2, max_length=7, seed=3), whole[:, :7])
    options = {"steps": 2, "max_length": 7, "seed": 3, "return_calls": True}
    draws, calls = model.generate(10, stop_token_ids=[1], **options)
    wanted, sizes = closed(whole[:, :7], [1], 1)
    np.testing.assert_array_equal(draws, wanted)
    assert len(set(sizes)) > 2
    np.testing.assert_array_equal(calls, [2 * -(-size // 2) for size in sizes])
    alone, _ = model.generate(10, stop_token_ids=[1], batch_size=1, **options)
    np.testing.assert_array_equal(alone, draws)
    draws, calls = model.generate(prompts=[[1, 1, 1]], stop_token_ids=[1], **options)
    assert (draws[:, :3] == 1).all() and (calls >= 2).all()  # what is given ends nothing
    known = np.arange(7) < 3
    again, _ = model.generate(
        prompts=np.ones((1, 7), int), known=known[None], stop_token_ids=[1], **options
    )
    np.testing.assert_array_equal(again, draws)


def test_an_end_token_that_is_given_ends_no_block():
    model = with_tokenizer(network(), ABEND)
    options = {"n": 10, "prompts": [[0, 2, 1]], "steps": 2, "seed": 3, "return_calls": True}
    draws, calls = model.generate(**options)
    plain, _ = model.generate(**options, stop_token_ids=None)
    assert (draws[:, 3] == plain[:, 3]).all() and (calls >= 2).all()
    named, _ = model.generate(**options, stop_token_ids=[2])
    np.testing.assert_array_equal(draws[:, :4], named[:, :4])


def test_a_model_of_blocks_goes_on_where_nothing_stops_it():
    model = with_tokenizer(network(), ABEND)
    options = {"n": 40, "steps": 2, "length": 10, "seed": 3, "return_calls": True}
    _, calls = model.generate(**options)
    assert calls.min() < 10  # the end token ends a row
    draws, calls = model.generate(**options, stop_token_ids=None)
    assert (calls == 10).all() and (draws[:, :-2] == 2).any()
