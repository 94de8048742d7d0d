"""Gradients through draws of tokens, by the likelihoods of what was drawn (REINFORCE)."""

from keras import ops

from keras_dmmd import checks


def policy_gradient_loss(log_probs, rewards):
    """`-1/G Σ_g A_g log p(x_g)`, `(batch,)`, up to a constant: its gradient is that of `-E R(x)`.

    Each of G samples of an example is held against the others, `A_g = R_g - mean of R of the others`: a
    baseline that leaves the gradient's mean as it is (Kool, van Hoof & Welling, "Buy 4 REINFORCE
    Samples, Get a Baseline for Free", 2019). The value is `-mean R`.

    Args:
        log_probs: `log p(x_g)` of G samples, `(G, batch)`, G at least 2.
        rewards: R of them, `(G, batch)`, which no gradient goes through.

    Example:

    ```python
    log_probs = np.log(np.array([[0.2], [0.4]], "float32"))  # of two samples of one example
    kd.losses.policy_gradient_loss(log_probs, np.array([[1.0], [0.0]], "float32"))  # [-0.5]
    ```
    """
    given = {"log_probs": log_probs, "rewards": rewards}
    given = {k: v if ops.is_tensor(v) else checks.array(k, v) for k, v in given.items()}
    shapes = {name: tuple(values.shape) for name, values in given.items()}
    own, other = shapes.values()
    if own != other or len(own) != 2 or own[0] < 2:
        raise ValueError(
            "`log_probs` and `rewards` must be (samples, batch) alike, of at least 2 samples. "
            f"Received: shapes {shapes}"
        )
    log_probs, rewards = (ops.cast(values, "float32") for values in given.values())
    rewards = ops.stop_gradient(rewards)
    moved = log_probs - ops.stop_gradient(log_probs)
    return -ops.mean(rewards + advantages(rewards) * moved, axis=0)


def advantages(rewards):
    """Of each sample its reward less the mean of the others', `(G, batch)`."""
    number = rewards.shape[0]
    return (rewards - ops.mean(rewards, axis=0, keepdims=True)) * (number / (number - 1))
