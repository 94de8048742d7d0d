import functools
import math
import types

import numpy as np
import pytest

from keras_dmmd import metrics

pytestmark = pytest.mark.plain
TOKENS = np.array([[0, 1, 0, 1, 0], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4]])


def of(metric, *batches):
    for batch in batches:
        metric.update_state(batch)
    return metric.result()


def test_unigram_entropy():
    each = [-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)), 0.0, math.log(5)]
    result = of(metrics.UnigramEntropy(), TOKENS[:1], TOKENS[1:])
    assert result["unigram_entropy"] == pytest.approx(sum(each) / 3)
    assert result["unigram_entropy_error"] == pytest.approx(np.std(each, ddof=1) / 3**0.5)


def test_repetition():
    """Pairs: 01 10 01 10, two of them repeated; 33 four times; all different."""
    result = of(metrics.Repetition(2), TOKENS[:2], TOKENS[2:])
    assert result["repetition_2"] == pytest.approx((2 / 4 + 3 / 4 + 0) / 3)
    assert result["repetition_2_error"] == pytest.approx(np.std([0.5, 0.75, 0], ddof=1) / 3**0.5)


def test_diversity_is_of_all_batches_together():
    """01 10 33 12 23 34 of 12 pairs; 01 of the last row was in the first."""
    assert of(metrics.Diversity(2), TOKENS[:1], TOKENS[1:]) == {"diversity_2": 6 / 12}
    assert of(metrics.Diversity(1), TOKENS) == {"diversity_1": 5 / 15}


def test_batches_are_one_batch():
    """Streaming sums lose nothing, far from 0 either."""
    values = 1e9 + np.random.default_rng(0).normal(size=1000)
    metric = metrics.StreamingMetric(name="m")
    for part in np.split(values, [1, 10, 500]):
        metric.gather(value=part)
    result = metric.result()
    assert result["value"] == pytest.approx(values.mean(), rel=1e-15)
    assert result["value_error"] == pytest.approx(values.std(ddof=1) / 1000**0.5, rel=1e-6)
    metric.reset_state()
    metric.gather(value=3.0)
    assert metric.result()["value"] == 3.0 and math.isnan(metric.result()["value_error"])


@pytest.mark.parametrize(
    "metric", [metrics.UnigramEntropy(), metrics.Repetition(2), metrics.Diversity(2)]
)
def test_bad_input(metric):
    with pytest.raises(ValueError, match="no samples"):
        metric.result()
    with pytest.raises(ValueError, match=r"not empty.*\(0, 5\)"):
        metric.update_state(TOKENS[:0])
    with pytest.raises(ValueError, match="float64"):
        metric.update_state(TOKENS * 1.0)
    with pytest.raises(ValueError, match=r"\(n, length\)"):
        metric.update_state(TOKENS[0])


def test_too_short_for_an_ngram():
    with pytest.raises(ValueError, match="no 6-grams"):
        metrics.Repetition(6).update_state(TOKENS)


def test_any_function_of_the_samples():
    """A number, a pair, a dict of either; of all batches together."""
    for function, expected in (
        (lambda ids: ids.max(), {"m": 4.0}),
        (lambda ids: (ids.mean(), 0.5), {"m": TOKENS.mean(), "m_error": 0.5}),
        (
            lambda ids: {"a": len(ids), "b": (1.0, 2.0)},
            {"a": 3.0, "b": 1.0, "b_error": 2.0},
        ),
    ):
        assert of(metrics.SampleScore(function, "m"), TOKENS[:1], TOKENS[1:]) == expected
    with pytest.raises(ValueError, match="m has seen no samples"):
        metrics.SampleScore(len, "m").result()


def first(ids, k=1):
    return ids[:, :k].mean()


def cached(function):
    return functools.wraps(function)(lambda *args: function(*args))


class First:
    def __call__(self, ids):
        return ids[:, 0].mean()


class Last:
    def __call__(self, ids):
        return ids[:, -1].mean()


def test_scores_of_other_functions_have_other_marks():
    """What a sweep that goes on tells them by: defaults and arguments too, and what is wrapped."""
    partial = functools.partial
    others = [
        first,
        lambda i, k=1: i[:, :k],
        lambda i, k=2: i[:, :k],
        lambda i, *, k=1: i[:, :k],
        lambda i, *, k=2: i[:, :k],
        partial(first, k=1),
        partial(first, k=2),
        partial(first, np.arange(5000)),
        partial(first, -np.arange(5000)),
        partial(len),
        len,
        max,
        First(),
        Last(),
        First().__call__,
        cached(first),
        cached(len),
        functools.cache(first),
        functools.cache(len),
    ]
    marks = [metrics.SampleScore(each, "m").mark for each in others]
    assert len(set(marks)) == len(marks)
    assert metrics.SampleScore(First(), "m").mark == marks[12]
    assert metrics.SampleScore(partial(first, k=2), "m").mark == marks[6]


def test_a_mark_has_no_order_of_a_set():
    """Which is another one in every process: here by what was put in first."""
    code = (lambda ids: ids in {0, 8}).__code__
    marks = set()
    for values in ((0, 8), (8, 0)):
        constants = tuple(frozenset(values) if isinstance(c, frozenset) else c for c in code.co_consts)
        function = types.FunctionType(code.replace(co_consts=(*constants, (frozenset(values),))), {})
        marks.add(metrics.SampleScore(function, "m").mark)
    assert len(marks) == 1 and repr(frozenset((0, 8))) != repr(frozenset((8, 0)))
