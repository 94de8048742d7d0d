"""The losses of a mixture of products against float64 numpy and enumeration."""

import itertools

import numpy as np
import pytest
from keras import ops

from keras_dmmd.losses import mixture_loss
from keras_dmmd.losses.mixtures import correlation_loss, marginal_loss
from tests.builders import gradients, numpy

N, BATCH, LENGTH, K = 3, 2, 2, 3


def laws():
    rng = np.random.default_rng(0)
    return np.log(rng.dirichlet(np.ones(K), size=(N, BATCH, LENGTH))).astype("float32")


def likelihood(logs, x):
    """`1/N Σ_n Π_l p(x^l | λ_n)`, `(batch,)`."""
    picked = np.take_along_axis(np.float64(logs), np.broadcast_to(x, logs.shape[:-1])[..., None], -1)
    return np.exp(picked[..., 0].sum(-1)).mean(0)


def test_the_likelihood_of_a_mixture():
    logs, x = laws(), np.array([[0, 2], [1, 1]])
    found = numpy(mixture_loss(ops.convert_to_tensor(logs), x))
    np.testing.assert_allclose(found, -np.log(likelihood(logs, x)), rtol=1e-5)


def test_the_control_variate_leaves_the_gradient_and_a_constant():
    """Over all x of a law, by enumeration: the two forms differ by the marginals' entropies."""
    logs = laws()
    law = np.random.default_rng(1).dirichlet(np.ones(K**LENGTH), size=BATCH)
    marginals = np.stack(
        [law.reshape(BATCH, K, K).sum(2), law.reshape(BATCH, K, K).sum(1)], axis=1
    )  # (batch, length, K)
    log_marginals = ops.convert_to_tensor(np.log(marginals), "float32")
    rows = list(itertools.product(range(K), repeat=LENGTH))

    def mean(logits, **kwargs):
        log_probs = ops.log_softmax(logits)
        return sum(
            mixture_loss(log_probs, np.array([x] * BATCH), **kwargs)
            * ops.convert_to_tensor(law[:, i], "float32")
            for i, x in enumerate(rows)
        )

    def varied(logits):
        return mean(logits, target_log_marginals=log_marginals)

    plain, controlled = (numpy(f(ops.convert_to_tensor(logs))) for f in (mean, varied))
    entropies = -(marginals * np.log(marginals)).sum((1, 2))
    np.testing.assert_allclose(plain, controlled + entropies, rtol=1e-5)
    expected = sum(-law[:, i] * np.log(likelihood(logs, np.array([x] * 2))) for i, x in enumerate(rows))
    np.testing.assert_allclose(plain, expected, rtol=1e-5)
    np.testing.assert_allclose(
        gradients(mean, logs)[0], gradients(varied, logs)[0], rtol=1e-3, atol=1e-6
    )


def test_positions_that_do_not_count():
    logs, x = laws(), np.array([[0, 2], [1, 1]], "int32")
    where = np.array([[True, False], [False, False]])
    tensors = [ops.convert_to_tensor(value) for value in (logs, x)]
    target = ops.convert_to_tensor(np.log(np.full((BATCH, LENGTH, K), 1 / K)), "float32")
    mask = ops.convert_to_tensor(where)
    # One position alone has nothing to agree with.
    np.testing.assert_allclose(numpy(correlation_loss(*tensors, mask)), 0.0, atol=1e-6)
    marginal = np.log(np.exp(np.float64(logs)).mean(0))
    terms = (np.log(1 / K) - marginal).mean(-1)
    found = numpy(marginal_loss(tensors[0], target, mask))
    np.testing.assert_allclose(found, (terms * where).sum(-1), rtol=1e-5, atol=1e-6)


def test_a_mixture_of_one_has_no_correlation():
    logs, x = laws()[:1], np.array([[0, 2], [1, 1]], "int32")
    found = correlation_loss(*map(ops.convert_to_tensor, (logs, x)))
    np.testing.assert_allclose(numpy(found), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "given", [(laws()[0], [[0, 1], [1, 1]]), (laws(), [[0, 1]]), (laws(), [[0, 1], [1, 1]], laws())]
)
def test_bad_shapes(given):
    with pytest.raises(ValueError, match="`log_probs` must be"):
        mixture_loss(*given)
