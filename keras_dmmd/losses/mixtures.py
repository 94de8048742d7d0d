"""Losses of a student that is a mixture of products, over a random input λ (Di4C, arXiv 2410.08709).

    p(x | z_t) = E_λ Π_l p(x^l | z_t, λ)

With N draws of λ the logarithm of such a mixture is estimated as `log 1/N Σ_n Π_l p(x^l | λ_n)`.
Most of its variance is that of the marginals `m^l = 1/N Σ_n p^l(· | λ_n)`, which need no sample of x
where the target's are known: so a loss is taken apart in two,

    -log p(x)  =  [ -log p(x) + Σ_l log m^l(x^l) ]  -  Σ_l log m^l(x^l),

and the last sum is replaced by its mean, up to a constant `Σ_l KL(target^l ‖ m^l)`: a control variate.
"""

import math

from keras import ops

from keras_dmmd import checks
from keras_dmmd.tensors import LOG_FLOOR, gather, total


def mixture_loss(log_probs, target, target_log_marginals=None):
    """`-log p(target)` of a mixture, `(batch,)` nats; with a control variate where marginals are given.

    Args:
        log_probs: `log p(· | λ_n)` of N draws of λ, normalised, `(N, batch, length, K)`.
        target: ids `(batch, length)`.
        target_log_marginals: `(batch, length, K)`, of the law that `target` was drawn from. The loss is
            then `correlation + Σ_l KL(target^l ‖ m^l)`: its mean differs by a constant, the marginals'
            entropies, and its gradient has the same mean.

    Example:

    ```python
    heads, tails = [0.99, 0.01], [0.01, 0.99]
    log_probs = np.log([[[heads, heads]], [[tails, tails]]])  # two parts, one pair of coins
    kd.losses.mixture_loss(log_probs, np.array([[0, 0]]))  # [0.713]
    ```
    """
    given = {"log_probs": log_probs, "target": target}
    if target_log_marginals is not None:
        given["target_log_marginals"] = target_log_marginals
    given = {k: v if ops.is_tensor(v) else checks.array(k, v) for k, v in given.items()}
    shapes = {name: tuple(values.shape) for name, values in given.items()}
    own = shapes["log_probs"]
    wanted = {"target": own[1:3], "target_log_marginals": own[1:]}
    if (
        len(own) != 4
        or 0 in own
        or any(shapes[name] != wanted[name] for name in shapes if name in wanted)
    ):
        raise ValueError(
            "`log_probs` must be (N, batch, length, K), `target` (batch, length) and "
            f"`target_log_marginals` (batch, length, K). Received: shapes {shapes}"
        )
    if not ops.is_tensor(target):
        target = ops.convert_to_tensor(checks.ids("target", target, own[-1]), "int32")
    log_probs = ops.cast(given["log_probs"], "float32")
    if target_log_marginals is None:
        return -log_mean_exp(ops.sum(gather_each(log_probs, target), axis=-1))
    marginals = ops.cast(given["target_log_marginals"], "float32")
    return correlation_loss(log_probs, target) + marginal_loss(log_probs, marginals)


def log_mean_exp(values):
    """`log 1/N Σ_n exp(v_n)` over the first axis."""
    return ops.logsumexp(values, axis=0) - math.log(values.shape[0])


def gather_each(log_probs, x):
    """`log p(x^l | λ_n)`, `(N, batch, length)`, no less than the floor of logarithms."""
    x = ops.broadcast_to(ops.expand_dims(x, 0), ops.shape(log_probs)[:-1])
    return ops.maximum(gather(log_probs, x), LOG_FLOOR)


def correlation_loss(log_probs, x, where=None):
    """`-log p(x) + Σ_l log m^l(x^l)`, `(batch,)`: 0 for a mixture of one.

    Args:
        log_probs: `(N, batch, length, K)`.
        x: ids `(batch, length)`.
        where: bool `(batch, length)`, positions that count, or `None` for all.
    """
    likelihoods = gather_each(log_probs, x)
    return total(log_mean_exp(likelihoods), where) - log_mean_exp(total(likelihoods, where))


def marginal_loss(log_probs, target_log_probs, where=None):
    """`Σ_l KL(target^l ‖ m^l)`, `(batch,)`; no gradient goes through the target."""
    marginals = log_mean_exp(ops.maximum(log_probs, LOG_FLOOR))
    target = ops.stop_gradient(ops.maximum(target_log_probs, LOG_FLOOR))
    return total(ops.sum(ops.exp(target) * (target - marginals), axis=-1), where)
