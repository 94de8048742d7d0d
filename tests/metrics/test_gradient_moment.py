"""The gradient moment of a table of transitions, against sums in float64 numpy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dmmd import metrics
from tests.builders import TABLE, Bigrams, reference

# Rows of TABLE are what follows a, b, c and the start.
START = 3


def draw(seed, n, length, table=TABLE):
    """Rows of a Markov chain, without the end token: what the reference itself expects."""
    rng, rows = np.random.default_rng(seed), np.zeros((n, length), "int32")
    for row in rows:
        last = START
        for i in range(length):
            p = table[last][:3] / table[last][:3].sum()
            last = row[i] = rng.choice(3, p=p)
    return rows


def gradient(tokens):
    """Of the mean of `log p` a token, by logits `(last, next)`: indicator less probability."""
    total = np.zeros_like(TABLE)
    for row in tokens:
        last = START
        for token in row:
            total[last] -= TABLE[last]
            total[last][token] += 1.0
            last = token
    return total / tokens.size


@pytest.mark.parametrize("pairs, batch_size", [(1, 32), (1, 3), (3, 3)])
def test_against_full_gradients_in_float64(pairs, batch_size):
    """Also summed batch by batch, the last of them not full, and in several pairs an update."""
    metric = metrics.GradientMoment(reference(), pairs=pairs, batch_size=batch_size)
    expected = []
    gs, qs = draw(0, 24, 5, TABLE[::-1]), draw(10, 36, 5)
    for part in range(0, 3, pairs):
        where = slice(8 * part, 8 * (part + pairs)), slice(12 * part, 12 * (part + pairs))
        metric.update_state(gs[where[0]], qs[where[1]])
    for g, q in zip(np.split(gs, 3), np.split(qs, 3), strict=True):
        (g1, g2), (q1, q2) = (np.split(x, 2) for x in (g, q))
        first, second = gradient(g1) - gradient(q1), gradient(g2) - gradient(q2)
        uncentered = [(gradient(a) * gradient(b)).sum() for a, b in ((g1, g2), (q1, q2))]
        expected.append([(first * second).sum(), *uncentered])
    result, expected = metric.result(), np.array(expected)
    for i, name in enumerate(("centered", "uncentered_samples", "uncentered_data")):
        assert result[name] == pytest.approx(expected[:, i].mean(), rel=1e-5, abs=1e-9)
        error = expected[:, i].std(ddof=1) / 3**0.5
        assert result[f"{name}_error"] == pytest.approx(error, rel=1e-5, abs=1e-9)


def test_a_batch_at_a_time(monkeypatch):
    """So that memory does not grow with the number of samples."""
    judge, seen = reference(), []
    log_likelihood = judge.log_likelihood
    monkeypatch.setattr(
        judge, "log_likelihood", lambda tokens: seen.append(tokens.shape[0]) or log_likelihood(tokens)
    )
    metrics.GradientMoment(judge, batch_size=8).update_state(draw(0, 200, 5), draw(1, 60, 5))
    assert set(seen) == {8}


def test_any_reference_with_weights():
    """No more than a likelihood and the weights that it depends on; another name tells two apart."""

    class Judge:
        def __init__(self):
            self.trainable_variables = reference().model.trainable_variables
            self.log_likelihood = metrics.CausalReference(owner, reference().tokenizer).log_likelihood

    owner = reference().model
    judge = Judge()
    judge.trainable_variables = owner.trainable_variables
    found = metrics.GradientMoment(judge, name="second")
    known = metrics.GradientMoment(reference())
    g, q = draw(0, 8, 5, TABLE[::-1]), draw(10, 12, 5)
    both = metrics.measure([found, known], g, q)
    assert both["second_centered"] == pytest.approx(both["centered"], rel=1e-5)


def moment(samples, n=200, length=20):
    """`samples(seed)` against the chain itself: the mean and its error over 12 pairs."""
    metric = metrics.GradientMoment(reference())
    for seed in range(12):
        metric.update_state(samples(seed), draw(1000 + seed, n, length))
    result = metric.result()
    return result["centered"], result["centered_error"]


def test_what_the_moment_sees():
    """About 0 for more data; not for one row repeated, likely as it is, nor for shuffled tokens."""
    real, error = moment(lambda seed: draw(seed, 200, 20))
    assert abs(real) < 4 * error
    likely = np.tile(np.array([0, 0, 0, 1, 2] * 4, "int32"), (200, 1))
    found = [
        ops.convert_to_numpy(reference().log_likelihood(rows)).mean()
        for rows in (likely, draw(5, 200, 20))
    ]
    assert found[0] > found[1]
    repeated, repeated_error = moment(lambda seed: likely)
    assert repeated > 20 * repeated_error and repeated > 100 * error

    def shuffled(seed):
        return np.random.default_rng(seed).permuted(draw(seed, 200, 20), axis=1)

    mixed, mixed_error = moment(shuffled)
    assert mixed > 10 * mixed_error


def test_reset_and_bad_input():
    metric = metrics.GradientMoment(reference())
    with pytest.raises(ValueError, match="no samples"):
        metric.result()
    tokens = draw(0, 4, 5)
    metric.update_state(tokens, tokens)
    metric.reset_state()
    with pytest.raises(ValueError, match="no samples"):
        metric.result()
    for wrong, message in (
        (tokens[:3], "even, for two halves.*3"),
        (tokens[:1], "at least 2.*1"),
        (tokens[:0], r"not empty.*\(0, 5\)"),
        (tokens[0], r"\(n, length\)"),
        (tokens.astype("float32"), "float32"),
        (tokens[:, :4], "4 and 5 tokens"),
        (tokens + 5, "the reference's own vocabulary, 0 to"),
        (-1 - tokens, "the reference's own vocabulary"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update_state(wrong, tokens)
    with pytest.raises(ValueError, match="`reference_data`"):
        metric.update_state(tokens, None)
    with pytest.raises(ValueError, match="multiple of 4.*Received: 6"):
        metrics.GradientMoment(reference(), pairs=2).check(6, 5, True)
    with pytest.raises(ValueError, match="`pairs`.*0"):
        metrics.GradientMoment(reference(), pairs=0)
    frozen = Bigrams()
    frozen.trainable = False
    judge = metrics.CausalReference(frozen, reference().tokenizer)
    with pytest.raises(ValueError, match="no trainable weights"):
        metrics.GradientMoment(judge)
    with pytest.raises(ValueError, match="log_likelihood"):
        metrics.GradientMoment(keras.layers.Dense(3))
    broken = reference()
    broken.model.table.assign(np.full(TABLE.shape, np.nan))
    with pytest.raises(ValueError, match="not finite"):
        metrics.GradientMoment(broken).update_state(tokens, tokens)
