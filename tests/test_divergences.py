"""Divergences between predictions, against float64 numpy."""

import numpy as np
import pytest
from keras import ops

from keras_dmmd.losses import divergence_loss
from tests.builders import gradients, numpy


def laws():
    rng = np.random.default_rng(0)
    return np.log(rng.dirichlet(np.ones(4), size=(2, 2, 3))).astype("float32")


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_divergences_and_their_gradients(direction):
    own, target = laws()
    p, q = (np.exp(np.float64(x)) for x in (own, target))
    if direction == "forward":
        expected = (q * np.log(q / p)).sum((1, 2))
        by_logit = p - q
    else:
        expected = (p * np.log(p / q)).sum((1, 2))
        inside = np.log(p / q)
        by_logit = p * (inside - (p * inside).sum(-1, keepdims=True))
    found = divergence_loss(*map(ops.convert_to_tensor, (own, target)), direction)
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5)

    def loss(logits, target):
        return divergence_loss(ops.log_softmax(logits), target, direction)

    to_own, to_target = gradients(loss, own, target)
    np.testing.assert_allclose(to_own, by_logit, rtol=1e-4, atol=1e-6)
    assert (to_target == 0).all()


def test_what_is_certain_costs_no_nan():
    own, _ = laws()
    target = np.full_like(own, -np.inf)
    target[..., 1] = 0.0
    found = divergence_loss(*map(ops.convert_to_tensor, (own, target)))
    np.testing.assert_allclose(numpy(found), -np.float64(own)[..., 1].sum(-1), rtol=1e-5)


def test_bad_tables_and_directions():
    own, target = laws()
    with pytest.raises(ValueError, match="`direction` must be one of"):
        divergence_loss(own, target, "sideways")
    with pytest.raises(ValueError, match="`log_probs`, `target_log_probs` must be"):
        divergence_loss(own, target[0])
