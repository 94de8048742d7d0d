"""Policy gradients against the enumeration of all draws, in float64 numpy."""

import itertools

import numpy as np
import pytest
from keras import ops

from keras_dmmd.losses import policy_gradient_loss
from tests.builders import gradients, numpy


def test_its_gradient_is_that_of_the_mean_reward():
    """Over every pair of draws among three tokens, each weighed by its probability."""
    rng = np.random.default_rng(0)
    logits, rewards = rng.normal(size=(2, 3))
    p = np.exp(logits) / np.exp(logits).sum()
    pairs = np.array(list(itertools.product(range(3), repeat=2)))
    weights = p[pairs].prod(1)

    def loss(own):
        log_probs = ops.take(ops.log_softmax(own), ops.convert_to_tensor(pairs.T), axis=-1)
        values = policy_gradient_loss(log_probs, ops.convert_to_tensor(rewards[pairs].T, "float32"))
        return values * ops.convert_to_tensor(weights, "float32")

    own = logits.astype("float32")
    expected = -p * (rewards - (p * rewards).sum())
    np.testing.assert_allclose(gradients(loss, own)[0], expected, rtol=1e-5, atol=1e-6)
    mean = numpy(ops.sum(loss(ops.convert_to_tensor(own))))
    np.testing.assert_allclose(mean, -(p * rewards).sum(), rtol=1e-5)


def test_no_gradient_goes_through_rewards():
    log_probs, rewards = np.random.default_rng(1).normal(size=(2, 4, 3)).astype("float32")
    to_log_probs, to_rewards = gradients(policy_gradient_loss, log_probs, rewards)
    others = (rewards.sum(0) - rewards) / 3
    np.testing.assert_allclose(to_log_probs, -(rewards - others) / 4, rtol=1e-5, atol=1e-6)
    assert (to_rewards == 0).all()


@pytest.mark.parametrize("shapes", [((1, 3), (1, 3)), ((2, 3), (2, 4)), ((2,), (2,))])
def test_bad_shapes(shapes):
    with pytest.raises(ValueError, match="`log_probs` and `rewards` must be"):
        policy_gradient_loss(*map(np.zeros, shapes))
