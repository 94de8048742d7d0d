"""The two losses of discrete moment matching (D-MMD, arXiv 2603.20155).

For any diffusion loss `L(x, x̂)`, distillation is the game

    min over the student, max over the critic:  L(x, x̂_θ) - L(x, x̂_φ) - λ L(x̂_θ, x̂_φ)

with x the student's sample, θ the teacher and φ the critic. A process gives `L` as a table,
`cost[b, l, k] = L` if the clean token is k, so both losses are averages over that table, and any
process and prediction takes part in the same two lines.
"""

from keras import ops

from keras_dmmd import checks
from keras_dmmd.losses.tables import number, tables
from keras_dmmd.tensors import gather


def student_loss(student_probs, teacher_cost, critic_cost, max_advantage=None):
    """`Σ_l Σ_k p_k · sg[cost_θ(k) - cost_φ(k)]`, `(batch,)`.

    For cross-entropy the bracket is `-(log x̂_θ - log x̂_φ)`: the student moves to tokens that the
    teacher finds likelier than the critic, which knows what the student makes. Gradients reach the
    student through the probabilities alone.

    Args:
        student_probs: `p`, the student's prediction at `z_t`, `(batch, length, K)`.
        teacher_cost, critic_cost: tables at `z_s`, `(batch, length, K)`.
        max_advantage: bound on the bracket's size, in nats. A teacher that is sure of something gives a
            token `-log 0`; unbounded, one such token outweighs all others and drives the student into
            the mode where it never occurs. At the fixed point the bracket is 0, so a bound is no bias.

    Example:

    ```python
    probs = np.array([[[0.5, 0.5]]], "float32")
    teacher, critic = -np.log([[[0.9, 0.1]]]), -np.log([[[0.5, 0.5]]])  # costs, (1, 1, 2)
    kd.losses.student_loss(probs, teacher, critic, max_advantage=3.0)  # [0.511]
    ```
    """
    given = tables(student_probs=student_probs, teacher_cost=teacher_cost, critic_cost=critic_cost)
    if max_advantage is not None:
        max_advantage = number("max_advantage", max_advantage)
    return ops.sum(student_token_loss(*given.values(), max_advantage), axis=-1)


def student_token_loss(student_probs, teacher_cost, critic_cost, max_advantage):
    """The terms of `student_loss`, `(batch, length)`, of tables that are known to fit."""
    advantage = ops.stop_gradient(teacher_cost - critic_cost)
    if max_advantage is not None:
        advantage = ops.clip(advantage, -max_advantage, max_advantage)
    return ops.sum(student_probs * advantage, axis=-1)


def critic_loss(target, critic_cost, teacher_probs=None, teacher_weight=0.0):
    """`Σ_l [cost_φ(x) + λ Σ_k x̂_θ,k cost_φ(k)]`, `(batch,)`.

    The first term fits the critic to the student, the second holds it to the teacher.

    Args:
        target: the student's sample as ids `(batch, length)`, or its prediction `(batch, length, K)`.
        critic_cost: table at `z_s`, `(batch, length, K)`.
        teacher_probs: `E[x | z_s]` by the teacher, `(batch, length, K)`; may be `None` for λ = 0.
        teacher_weight: λ.

    Example:

    ```python
    cost = np.random.default_rng(0).exponential(size=(2, 3, 5)).astype("float32")
    sample = np.array([[0, 1, 2], [4, 4, 0]])
    kd.losses.critic_loss(sample, cost)  # the sum of the sample's costs, (2,)
    ```
    """
    if not ops.is_tensor(target):
        target = checks.array("target", target)
    are_ids = len(target.shape) == 2
    given = {"critic_cost": critic_cost, **({} if are_ids else {"target": target})}
    if teacher_probs is not None:
        given["teacher_probs"] = teacher_probs
    given, teacher_weight = tables(**given), number("teacher_weight", teacher_weight)
    if teacher_probs is None and not ops.is_tensor(teacher_weight) and teacher_weight:
        raise ValueError(
            "`teacher_weight` needs `teacher_probs`, which it weighs. Received: "
            f"teacher_weight={teacher_weight} and teacher_probs=None"
        )
    critic_cost = given["critic_cost"]
    # In a graph a size may be unknown, `None`.
    sizes = zip(target.shape, critic_cost.shape[:2], strict=False)
    if are_ids and any(one != other for one, other in sizes if None not in (one, other)):
        raise ValueError(
            "`target` must be ids (batch, length) where `critic_cost` is (batch, length, K). "
            f"Received: shapes {tuple(target.shape)} and {tuple(critic_cost.shape)}"
        )
    if are_ids and not ops.is_tensor(target):
        target = checks.ids("target", target, critic_cost.shape[-1])
    target = target if are_ids else given["target"]
    losses = critic_token_loss(target, critic_cost, given.get("teacher_probs"), teacher_weight)
    return ops.sum(losses, axis=-1)


def critic_token_loss(target, critic_cost, teacher_probs, teacher_weight):
    """The terms of `critic_loss`, `(batch, length)`, of tables that are known to fit."""
    if len(target.shape) == 2:
        losses = gather(critic_cost, target)
    else:
        losses = ops.sum(target * critic_cost, axis=-1)
    if teacher_probs is not None:
        losses = losses + teacher_weight * ops.sum(teacher_probs * critic_cost, axis=-1)
    return losses
