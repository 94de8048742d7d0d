"""The student's loss of Di[M]O (arXiv 2503.15457): a generalised Jeffreys divergence of two others."""

from keras import ops

from keras_dmmd import checks
from keras_dmmd.losses.tables import tables
from keras_dmmd.tensors import LOG_FLOOR


def jeffreys_loss(logits, teacher_log_probs, critic_log_probs, beta=0.0):
    """`Σ_l (1 - β) KL(x̂_θ ‖ x̂_φ) + β KL(x̂_φ ‖ x̂_θ)`, `(batch,)` nats, with a gradient of its own.

    The value is the divergence of critic φ and teacher θ. The gradient is that by the critic's logits,
    and is handed to the student's logits, which the critic stands for:

        (1 - β) (x̂_φ - x̂_θ) + β x̂_φ [ log x̂_φ - log x̂_θ - KL(x̂_φ ‖ x̂_θ) ]

    Args:
        logits: the student's, at `z_t`, `(batch, length, K)`.
        teacher_log_probs, critic_log_probs: normalised, at `z_s`, which no gradient goes through.
        beta: β, of any sign.

    Example:

    ```python
    logits = np.zeros((1, 1, 2), "float32")
    teacher, critic = np.log([[[0.9, 0.1]]]), np.log([[[0.5, 0.5]]])
    kd.losses.jeffreys_loss(logits, teacher, critic)  # [0.368]
    ```
    """
    beta = checks.number("beta", beta, low=-float("inf"))
    given = tables(
        logits=logits, teacher_log_probs=teacher_log_probs, critic_log_probs=critic_log_probs
    )
    return ops.sum(jeffreys_token_loss(*given.values(), beta), axis=-1)


def jeffreys_token_loss(logits, teacher_log_probs, critic_log_probs, beta):
    """The terms of `jeffreys_loss`, `(batch, length)`."""
    teacher, critic = (
        ops.stop_gradient(ops.maximum(x, LOG_FLOOR)) for x in (teacher_log_probs, critic_log_probs)
    )
    p_teacher, p_critic = ops.exp(teacher), ops.exp(critic)
    forward = ops.sum(p_teacher * (teacher - critic), axis=-1)
    reverse = ops.sum(p_critic * (critic - teacher), axis=-1)
    by_logit = (1.0 - beta) * (p_critic - p_teacher)
    by_logit = by_logit + beta * p_critic * (critic - teacher - ops.expand_dims(reverse, -1))
    handed_on = ops.sum(by_logit * logits, axis=-1)
    return (1.0 - beta) * forward + beta * reverse + handed_on - ops.stop_gradient(handed_on)
