"""Kullback-Leibler divergences between predictions: how a student imitates what it is shown."""

from keras import ops

from keras_dmmd import checks
from keras_dmmd.losses.tables import tables
from keras_dmmd.tensors import LOG_FLOOR

DIRECTIONS = ("forward", "reverse")


def divergence_loss(log_probs, target_log_probs, direction="forward"):
    """`Σ_l KL(target ‖ p)`, or `Σ_l KL(p ‖ target)`, `(batch,)` nats.

    Args:
        log_probs: `log p`, the prediction that is trained, normalised, `(batch, length, K)`.
        target_log_probs: those of the target, which no gradient goes through.
        direction: `"forward"`, `KL(target ‖ p)`, which covers all that the target holds possible, or
            `"reverse"`, `KL(p ‖ target)`, which leaves out what it does not.

    Example:

    ```python
    p, target = np.log([[[0.5, 0.5]]]), np.log([[[0.9, 0.1]]])  # (1, 1, 2)
    kd.losses.divergence_loss(p, target, direction="forward")  # [0.368]
    ```
    """
    checks.choice("direction", direction, DIRECTIONS)
    given = tables(log_probs=log_probs, target_log_probs=target_log_probs)
    return ops.sum(divergence_token_loss(*given.values(), direction), axis=-1)


def divergence_token_loss(log_probs, target_log_probs, direction="forward"):
    """The terms of `divergence_loss`, `(batch, length)`."""
    # Where one of them is -inf, its own probability is 0.
    log_probs = ops.maximum(log_probs, LOG_FLOOR)
    target = ops.stop_gradient(ops.maximum(target_log_probs, LOG_FLOOR))
    if direction == "forward":
        return ops.sum(ops.exp(target) * (target - log_probs), axis=-1)
    return ops.sum(ops.exp(log_probs) * (log_probs - target), axis=-1)
