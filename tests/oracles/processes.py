"""The two forward processes in float64 numpy, by enumeration, from their definitions alone.

A process here is a `(kind, vocabulary_size)` pair, kind `"masked"` or `"uniform"`; the signal level α
is a number. A distribution is `(support, probabilities)`, of shapes `(m, L)` and `(m,)`.
"""

import itertools

import numpy as np


def num_states(kind, K):
    return K + 1 if kind == "masked" else K


def noise_distribution(kind, K):
    """π over all states."""
    if kind == "masked":
        return np.eye(K + 1)[K]
    return np.full(K, 1.0 / K)


def corruption(kind, K, alpha):
    """`q(z_t | x)`, `(K, num_states)`."""
    keep = np.eye(num_states(kind, K))[:K]
    return alpha * keep + (1.0 - alpha) * noise_distribution(kind, K)


def transition(kind, K, alpha_s, alpha_t):
    """`q(z_t | z_s)`, `(num_states, num_states)`, rows are `z_s`."""
    ratio = alpha_t / alpha_s if alpha_s > 0 else 1.0
    return ratio * np.eye(num_states(kind, K)) + (1.0 - ratio) * noise_distribution(kind, K)


def posterior(kind, K, alpha_s, alpha_t):
    """`q(z_s | z_t, x)` by Bayes' rule, `(K, num_states, num_states)`: x, z_t, z_s.

    Rows of pairs that cannot happen are NaN.
    """
    q_s, q_ts = corruption(kind, K, alpha_s), transition(kind, K, alpha_s, alpha_t)
    joint = q_s[:, :, None] * q_ts[None]  # x, z_s, z_t
    joint = np.swapaxes(joint, 1, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return joint / joint.sum(-1, keepdims=True)


def all_states(kind, K, length):
    """Every `z_t`, `(num_states ** length, length)`."""
    return np.array(list(itertools.product(range(num_states(kind, K)), repeat=length)))


def likelihoods(kind, K, alpha, support, z):
    """`q(z_t^l | x_m^l)`, `(n, m, L)`."""
    return corruption(kind, K, alpha)[support[None], z[:, None]]


def marginal(kind, K, alpha, support, probabilities, z):
    """`q(z_t)`, `(n,)`."""
    return likelihoods(kind, K, alpha, support, z).prod(-1) @ probabilities


def _scatter(weights, support, K):
    """Weights of support items `(n, m, L)` to probabilities of tokens `(n, L, K)`."""
    weights = weights / weights.sum(1, keepdims=True)
    return np.einsum("nml,mlk->nlk", weights, np.eye(K)[support])


def exact_mean(kind, K, alpha, support, probabilities, z):
    """`E[x^l | z_t]`, `(n, L, K)`."""
    weights = likelihoods(kind, K, alpha, support, z).prod(-1) * probabilities
    weights = np.repeat(weights[:, :, None], support.shape[1], axis=2)
    return _scatter(weights, support, K)


def exact_loo(kind, K, alpha, support, probabilities, z):
    """`E[x^l | z_t without position l]`, `(n, L, K)`."""
    factors = likelihoods(kind, K, alpha, support, z)
    length = support.shape[1]
    others = [np.delete(factors, position, axis=2).prod(-1) for position in range(length)]
    return _scatter(np.stack(others, axis=-1) * probabilities[None, :, None], support, K)


def entropy(probabilities):
    return -np.sum(probabilities * np.log(probabilities))


def posterior_kl(K, alpha, loo, x, z):
    """The uniform process's `1/K [Σ_j (x̄_j/x̄_i) log(x̄_j ŷ_i / (x̄_i ŷ_j)) - K/x̄_i + K/ŷ_i]`.

    Args:
        loo: leave-one-out probabilities `(..., K)`; x, z: ids `(...)`, `i = z`.
    """
    x_bar = K * alpha * np.eye(K)[x] + (1.0 - alpha)
    y_bar = K * alpha * loo + (1.0 - alpha)
    x_i = np.take_along_axis(x_bar, z[..., None], -1)
    y_i = np.take_along_axis(y_bar, z[..., None], -1)
    total = np.sum(x_bar / x_i * np.log(x_bar * y_i / (x_i * y_bar)), -1)
    return (total - K / x_i[..., 0] + K / y_i[..., 0]) / K


def nelbo(kind, K, alpha, derivative, prediction, x, z):
    """The NELBO's integrand, `(n,)`.

    Args:
        prediction: probabilities `(n, L, K)`; the mean for masked, leave-one-out for uniform.
        x, z: ids `(n, L)`.
    """
    if kind == "masked":
        cross_entropy = -np.log(np.take_along_axis(prediction, x[..., None], -1)[..., 0])
        return -derivative / (1.0 - alpha) * np.sum(cross_entropy * (z == K), -1)
    return -derivative / alpha * np.sum(posterior_kl(K, alpha, prediction, x, z), -1)


def mean_from_loo(kind, K, alpha, loo, z):
    """`∝ loo ⊙ q(z_t^l | x^l)`."""
    mean = loo * corruption(kind, K, alpha).T[z]
    return mean / mean.sum(-1, keepdims=True)
