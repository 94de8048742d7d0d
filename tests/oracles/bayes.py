"""Any process `q(z_t | x) = α x + (1 - α) π` in float64 numpy, from α and π alone, by enumeration."""

import itertools

import numpy as np


class Level:
    """What is known of a time: the signal α, and the noise π over all states."""

    def __init__(self, alpha, noise):
        self.alpha, self.noise = float(alpha), np.float64(noise)

    def corruption(self, K):
        """`q(z_t | x)`, `(K, states)`."""
        return self.alpha * np.eye(len(self.noise))[:K] + (1.0 - self.alpha) * self.noise


def transition(early, late):
    """`q(z_t | z_s)`, `(states, states)`: what is kept, and what noise has come since."""
    ratio = late.alpha / early.alpha
    added = (1.0 - late.alpha) * late.noise - ratio * (1.0 - early.alpha) * early.noise
    return ratio * np.eye(len(late.noise)) + added


def posterior(K, early, late):
    """`q(z_s | z_t, x)`, `(K, states, states)`: x, z_t, z_s; NaN for pairs that cannot happen."""
    joint = early.corruption(K)[:, :, None] * transition(early, late)[None]  # x, z_s, z_t
    joint = np.swapaxes(joint, 1, 2)
    with np.errstate(invalid="ignore"):
        return joint / joint.sum(-1, keepdims=True)


def all_rows(states, length):
    """Every row, `(states ** length, length)`."""
    return np.array(list(itertools.product(range(states), repeat=length)))


def likelihoods(K, level, support, z):
    """`q(z_t^l | x_m^l)`, `(n, m, L)`."""
    return level.corruption(K)[support[None], z[:, None]]


def exact_mean(K, level, support, probabilities, z):
    """`E[x^l | z_t]`, `(n, L, K)`."""
    weights = likelihoods(K, level, support, z).prod(-1) * probabilities
    weights = weights / weights.sum(1, keepdims=True)
    return np.einsum("nm,mlk->nlk", weights, np.eye(K)[support])


def exact_loo(K, level, support, probabilities, z):
    """`E[x^l | z_t without position l]`, `(n, L, K)`."""
    factors = likelihoods(K, level, support, z)
    places = range(z.shape[1])
    parts = [np.delete(factors, place, axis=2).prod(-1) * probabilities for place in places]
    weights = np.stack([part / part.sum(1, keepdims=True) for part in parts], axis=-1)
    return np.einsum("nml,mlk->nlk", weights, np.eye(K)[support])


def nelbo_rate(K, process_levels, loo, x, z, width):
    """The NELBO's integrand at one position, from transitions over a short time.

    The bound of a chain of steps of length `width` is the sum of `KL(q(z_s | z_t, x) ‖ q(z_s | z_t,
    x̂))`; divided by the width it is the integrand. Its error is of the order of the width.

    Args:
        process_levels: `(early, late)`, `width` apart.
        loo: leave-one-out probabilities `(K,)`.
        x, z: ids.
    """
    early, late = process_levels
    forward = transition(early, late)[:, z]
    true, predicted = (forward * (p @ early.corruption(K)) for p in (np.eye(K)[x], loo))
    true, predicted = true / true.sum(), predicted / predicted.sum()
    some = true > 0
    return (true[some] * np.log(true[some] / predicted[some])).sum() / width
