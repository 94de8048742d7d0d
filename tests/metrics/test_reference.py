"""Judges of text, against sums over a table of transitions in float64."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_dmmd import metrics
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.builders import ALPHABET, ON_TORCH, TABLE, Bigrams, reference


def nats(text, window=10**6):
    """`-log p`, symbol by symbol; each window begins after the end token."""
    total = 0.0
    for i, symbol in enumerate(text):
        last = 3 if i % window == 0 else ALPHABET.index(text[i - 1])
        total -= math.log(TABLE[last][ALPHABET.index(symbol)])
    return total


TEXTS = ["abca", "c", "bbbbbbb", "acacacacacb", "abcabcab"]


@pytest.mark.parametrize("window", [256, 3])
def test_judge(window):
    """Texts of all lengths at once, in batches that do not divide them, in windows or whole."""
    got, counts = reference(window=window, batch_size=2).judge(TEXTS)
    np.testing.assert_allclose(got, [nats(text, window) for text in TEXTS], rtol=1e-5)
    np.testing.assert_array_equal(counts, [len(text) for text in TEXTS])


def test_log_likelihood_is_a_mean_over_the_tokens_that_count():
    tokens = np.array([[0, 1, 2, 0], [2, 2, 2, 2]])
    mask = np.array([[True, True, True, True], [True, True, False, False]])
    got = ops.convert_to_numpy(reference().log_likelihood(tokens, mask))
    np.testing.assert_allclose(got, [-nats("abca") / 4, -nats("cc") / 2], rtol=1e-5)


def test_bits_and_perplexity():
    each = np.array([nats(text) for text in TEXTS])
    lengths = np.array([len(text) for text in TEXTS])
    ratio = each.sum() / lengths.sum()
    # The error of a ratio, by leaving out one text at a time.
    left_out = (each.sum() - each) / (lengths.sum() - lengths)
    n = len(TEXTS)
    jackknife = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    bits, error = metrics.bits_per_character(TEXTS, reference())
    assert bits == pytest.approx(ratio / math.log(2), rel=1e-5)
    assert error == pytest.approx(jackknife / math.log(2), rel=0.25)
    perplexity, error = metrics.generative_perplexity(TEXTS, reference())
    assert perplexity == pytest.approx(math.exp(ratio), rel=1e-5)
    assert error == pytest.approx(math.exp(ratio) * jackknife, rel=0.25)


def test_samples_that_are_empty_texts_count_as_nothing():
    """A row that begins with the end token, as a model may write."""
    tokenizer = CharacterTokenizer(ALPHABET, end=True)
    rows = np.array([[0, 1, 2, 0], [3, 3, 3, 3], [2, 3, 3, 3]])
    for kind, expected in (
        (metrics.BitsPerCharacter, (nats("abca") + nats("c")) / 5 / math.log(2)),
        (metrics.GenerativePerplexity, math.exp((nats("abca") + nats("c")) / 5)),
    ):
        metric = kind(reference(), tokenizer)
        metric.update_state(rows)
        assert metric.result()[metric.name] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="all 1 samples are empty"):
        metric.update_state(rows[1:2])


def test_a_sweep_knows_the_tokenizers_of_a_judge():
    """That of the samples, and the judge's own."""
    one, other = (CharacterTokenizer(letters, end=True) for letters in (ALPHABET, ALPHABET[::-1]))
    prints = [
        metrics.BitsPerCharacter(metrics.CausalReference(Bigrams(), own), tokenizer).fingerprint()
        for own in (one, other)
        for tokenizer in (one, other, None, CharacterTokenizer.from_config(one.get_config()))
    ]
    assert prints[0] == prints[3] and prints[4] == prints[7]
    assert len({repr(each) for each in prints}) == 6


def test_bad_input():
    with pytest.raises(ValueError, match="iterable of strings"):
        reference().judge("abc")
    with pytest.raises(ValueError, match="not empty"):
        reference().judge([])
    with pytest.raises(ValueError, match="Text 1 is empty"):
        reference().judge(["a", ""])
    with pytest.raises(ValueError, match="start_id"):
        metrics.CausalReference(Bigrams(), CharacterTokenizer(ALPHABET))
    config = keras.saving.serialize_keras_object(CharacterTokenizer(ALPHABET, end=True))
    assert metrics.CausalReference(Bigrams(), config).start_id == 3
    broken = reference()
    broken.model.table.assign(np.full(TABLE.shape, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        broken.judge(["ab"])


@ON_TORCH
def test_a_causal_model_of_keras_hub():
    """Likelihoods from its own logits, one text at a time."""
    models = pytest.importorskip("keras_hub").models
    backbone = models.Llama3Backbone(
        vocabulary_size=4,
        num_layers=2,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=16,
    )
    rng = np.random.default_rng(0)
    backbone.set_weights([rng.normal(size=w.shape) * 0.5 for w in backbone.get_weights()])
    model = models.Llama3CausalLM(backbone, preprocessor=None)
    judge = metrics.CausalReference(model, CharacterTokenizer(ALPHABET, end=True))
    got, _ = judge.judge(TEXTS)
    for text, value in zip(TEXTS, got, strict=True):
        ids = [3, *(ALPHABET.index(symbol) for symbol in text)]
        inputs = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), "int32")}
        logits = np.float64(ops.convert_to_numpy(model(inputs)))[0]
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        expected = -sum(log_probs[i, ids[i + 1]] for i in range(len(text)))
        assert value == pytest.approx(expected, rel=1e-4)


def test_the_judge_that_ships_tells_text_from_shuffled_letters():
    """A held-out speech takes it 1.87 bits per character; the same letters in any order, over 4."""
    judge = metrics.CausalReference.from_folder("sotu_chars_reference")
    text = "my fellow americans the state of our union is strong because the people of this nation work"
    bits, _ = metrics.bits_per_character([text], judge)
    letters = "".join(np.random.default_rng(0).permutation(list(text)))
    shuffled, _ = metrics.bits_per_character([letters], judge)
    assert bits < 2.5 and shuffled > 4
