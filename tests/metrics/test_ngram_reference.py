"""The n-gram judge, against the recursion of its docstring over counts in dicts."""

import collections
import math

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import evaluation, metrics
from keras_dmmd.metrics import NGramReference
from keras_dmmd.tokenizers import CharacterTokenizer

pytestmark = pytest.mark.plain
WORDS = ["the", "state", "of", "our", "union", "is", "strong", "and", "free", "people", "we", "must"]


def texts(n=300, seed=0):
    """Sentences of eight words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 8)) for _ in range(n)]


def probabilities(train, order, alphabet):
    """A function `p(symbol, history)`; "?" is every symbol that does not occur, "^" a text's start."""
    counts = collections.Counter()
    for text in train:
        text = "^" + text
        for end in range(1, len(text)):
            for k in range(order):
                if end - k >= 0:
                    counts[text[end - k : end], text[end]] += 1

    def p(symbol, history):
        if history is None:
            return 1.0 / (len(alphabet) + 1)
        followers = {s: n for (h, s), n in counts.items() if h == history}
        shorter = p(symbol, history[1:] if history else None)
        if not followers:
            return shorter
        kinds, total = len(followers), sum(followers.values())
        return (followers.get(symbol, 0) + kinds * shorter) / (total + kinds)

    return lambda symbol, history: p(symbol, history[-(order - 1) :] if order > 1 else "")


def test_probabilities():
    train = [*("".join(text.split()[:3]) for text in texts(30)), "aa", "b"]
    judge = NGramReference(train, max_order=4, held_out=0.03)
    learned = [text for text in train if text not in held_out(judge, train)]
    assert judge.order > 1 and len(learned) == len(train) - 1
    alphabet = sorted({symbol for text in learned for symbol in text})
    p = probabilities(learned, judge.order, alphabet)
    for history in ("", "a", "th", "ion", "unionf"):
        total = sum(p(symbol, "^" + history) for symbol in [*alphabet, "?"])
        assert total == pytest.approx(1.0, abs=1e-12)
    asked = ["a", "unionfree", "zzz", "the", "x", "mustzbe", train[0]]
    nats, counts = judge.judge(asked)
    for text, got in zip(asked, nats, strict=True):
        known = "".join(s if s in alphabet else "?" for s in text)
        expected = -sum(math.log(p(s, "^" + known[:i])) for i, s in enumerate(known))
        assert got == pytest.approx(expected, rel=1e-12), text
    assert counts.tolist() == [len(text) for text in asked]


def held_out(judge, train):
    """The texts by which the order was chosen: what takes these bits."""
    found = [t for t in train if metrics.bits_per_character([t], judge)[0] == judge.held_out_bits[0]]
    assert found
    return found


def test_the_order_is_that_of_the_text():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, (400, 50))
    judge = NGramReference(noise)
    assert judge.order <= 2 and judge.held_out_bits[0] == pytest.approx(2.0, abs=0.02)
    # Of two coins in turn each says what comes two places later: 0.469 bits.
    chain = rng.integers(0, 2, (400, 50))
    for i in range(2, 50):
        chain[:, i] = np.where(rng.random(400) < 0.9, chain[:, i - 2], 1 - chain[:, i - 2])
    judge = NGramReference(chain)
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    mean, error = judge.held_out_bits
    assert judge.order == 3 and 0 < error < 0.05
    assert mean == pytest.approx((2 + 48 * entropy) / 50, abs=0.05)


def test_gibberish_takes_more_bits_than_text():
    """Letters in any order, letters of any kind, words of wrong letters; none of it wins."""
    judge, new = NGramReference(texts()), texts(40, seed=1)
    rng = np.random.default_rng(0)
    real, error = metrics.bits_per_character(new, judge)
    shuffled = ["".join(rng.permutation(list(text))) for text in new]
    random = ["".join(rng.choice(list(" abcdefghijklmnopqrstuvwxyz"), 40)) for _ in new]
    strange = ["ß" * 40] * 40
    assert real < 1.5 and error < 0.1
    for gibberish in (shuffled, random, strange):
        assert metrics.bits_per_character(gibberish, judge)[0] > 2 * real
    # By entropy alone the worst of them would be the best.
    ids = CharacterTokenizer().encode_batch(random, 40)
    assert metrics.unigram_entropy(ids)[0] > math.log(15)


def test_rows_of_ids_are_texts_too():
    tokenizer = CharacterTokenizer()
    rows = np.array([tokenizer.encode(text[:20]) for text in texts()])
    strings = tokenizer.decode(rows)
    by_ids, by_strings = NGramReference(rows), NGramReference(strings)
    assert by_ids.order == by_strings.order
    metric = metrics.BitsPerCharacter(by_ids, name="bits")
    metric.update_state(rows[:9])
    metric.update_state(rows[9:20])
    nats, counts = by_ids.judge(rows[:20])
    expected = nats.sum() / counts.sum() / math.log(2)
    assert metric.result()["bits"] == pytest.approx(expected)


def test_one_text_alone():
    judge = NGramReference(["abcabc", "", "abcabc"])
    assert judge.judge(["abcabc"])[0] < judge.judge(["cbacba"])[0]


def test_the_last_ngram_may_only_end_texts():
    """Its place is the highest, and nothing follows it."""
    train = [*("ab" * n for n in range(2, 30)), "zo"]
    judge = NGramReference(train, held_out=0.03)
    learned = [text for text in train if text not in held_out(judge, train)]
    p = probabilities(learned, judge.order, "abzo")
    for text in ("zo", "zob", "zozo"):
        expected = -sum(math.log(p(s, "^" + text[:i])) for i, s in enumerate(text))
        assert judge.judge([text])[0][0] == pytest.approx(expected, rel=1e-12)


def test_a_sweep_knows_its_judge():
    first, same, other = (NGramReference(texts(seed=seed)) for seed in (0, 0, 1))
    prints = [metrics.BitsPerCharacter(judge).fingerprint() for judge in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_bad_input():
    for wrong in ("abc", [], [1, 2], np.zeros(3, int), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="list of strings, not empty, or ids"):
            NGramReference(wrong)
    with pytest.raises(ValueError, match=r"Received: \[.{,300}$"):
        NGramReference([*texts(), 5])
    with pytest.raises(ValueError, match="all 2 are empty"):
        NGramReference(["", ""])
    with pytest.raises(ValueError, match="max_order"):
        NGramReference(texts(), max_order=0)
    with pytest.raises(ValueError, match="held_out"):
        NGramReference(texts(), held_out=0)
    judge = NGramReference(texts())
    with pytest.raises(ValueError, match="Text 1 is empty"):
        judge.judge(["a", ""])
    with pytest.raises(ValueError, match="log_likelihood"):
        metrics.GradientMoment(judge)


def model(tokenizer=None, **kwargs):
    size = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "cond_dim": 4}
    denoiser = kd.Denoiser(27, **size, **kwargs)
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(27), 40, tokenizer=tokenizer)


def test_what_is_measured_by_default_of_short_rows():
    size = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "cond_dim": 4}
    short = kd.DiffusionModel(kd.Denoiser(27, **size), kd.MaskedDiffusion(27), 3)
    rows = np.random.default_rng(0).integers(0, 27, (80, 3))
    found, data = evaluation.default_metrics({"m": short}, 10, rows)
    assert {"diversity_3", "repetition_3"} < metrics.measure(found, data).keys()


def test_what_is_measured_by_default_is_not_won_by_gibberish():
    tokenizer = CharacterTokenizer()
    rows = kd.datasets.pack(texts(800), tokenizer, 40)
    gibberish = np.random.default_rng(0).integers(0, 27, (64, 40))
    for kind, name in (
        (model(tokenizer), "bits_per_character"),
        (model(), "bits_per_symbol"),
        (model(grid=(4, 10)), "bits_per_symbol"),
    ):
        found, data = evaluation.default_metrics({"m": kind}, 64, rows)
        assert found[0].name == name and "entropy" in found[1].name
        assert found[0].notes()[name].against == "unigram_entropy"
        learned = {row.tobytes() for row in data}
        assert len(data) == len(rows) // 2 and len(learned) > 100
        real, made = metrics.measure(found, data[:64]), metrics.measure(found, gibberish)
        assert made[name] > 2 * real[name]
        assert made["unigram_entropy"] > real["unigram_entropy"]
    found, data = evaluation.default_metrics(
        {"m": model(tokenizer)}, 64, rows, reference=NGramReference(texts())
    )
    assert [metric.name for metric in found][:2] == ["bits_per_character", "unigram_entropy"]
    assert len(found) == 4 and len(data) == len(rows)
    with pytest.raises(ValueError, match="tell samples from gibberish"):
        evaluation.default_metrics({"m": model(tokenizer)}, 64)
    with pytest.raises(ValueError, match=f"{len(rows)} rows of `data`.*at most {len(rows) // 4}"):
        evaluation.default_metrics({"m": model(tokenizer)}, len(rows), rows)
