"""Uniform diffusion."""

import keras
from keras import ops

from keras_dmmd import random
from keras_dmmd.diffusion.process import NOISE_FLOOR, DiffusionProcess
from keras_dmmd.tensors import (
    LIKELIHOOD_FLOOR,
    PROBABILITY_FLOOR,
    SIGNAL_FLOOR,
    gather,
    per_state,
    per_token,
)


@keras.saving.register_keras_serializable("keras_dmmd")
class UniformDiffusion(DiffusionProcess):
    """Tokens are replaced by uniformly random ones: `q(z_t | x) = Cat(α_t x + (1 - α_t)/K)`.

    Args:
        vocabulary_size: K; clean and corrupted tokens are both `0 .. K - 1`.
        schedule: a name or a schedule object.
        prediction: what the network's output means.
            `"mean"`: `E[x^l | z_t]`, trained by cross-entropy on all positions.
            `"loo"` (leave-one-out): `E[x^l | z_t without position l]`, trained by the KL between
            posteriors, which is the NELBO. The two are tied by `mean ∝ loo ⊙ q(z_t^l | x^l)`.

    Example:

    ```python
    process = kd.UniformDiffusion(vocabulary_size=17, prediction="loo")
    model = kd.DiffusionModel(kd.Denoiser(17, process.num_states, grid=(8, 8)), process)
    z_t = process.corrupt(np.arange(17)[None], np.array([0.5]), seed=0)  # some are random
    ```

    Reference:
        - [Argmax Flows and Multinomial Diffusion](https://arxiv.org/abs/2102.05379)
        - [Simple Guidance Mechanisms for Discrete Diffusion Models](https://arxiv.org/abs/2412.10193)
        - [The Diffusion Duality](https://arxiv.org/abs/2506.10892)
    """

    predictions = ("mean", "loo")
    constant_prior = False

    def noise(self, t):
        """The same for every token."""
        return ops.full((*ops.shape(t), self.vocabulary_size), 1.0 / self.vocabulary_size)

    def _draw_noise(self, shape, t, seed):
        del t
        return random.randint(shape, self.vocabulary_size, seed)

    def log_likelihood(self, z_t, t):
        alpha = per_state(self.signal(t).alpha)
        noise = (1.0 - alpha) / self.vocabulary_size
        same = ops.one_hot(z_t, self.vocabulary_size, dtype="float32")
        return ops.log(ops.maximum(alpha * same + noise, LIKELIHOOD_FLOOR))

    def posterior(self, x, z_t, s, t):
        """`∝ [α_ts z_t + (1 - α_ts)/K] ⊙ [α_s x + (1 - α_s)/K]`, with `α_ts = α_t / α_s`."""
        K = self.vocabulary_size
        if len(x.shape) == 2:
            x = ops.one_hot(x, K, dtype="float32")
        elif self.prediction == "mean":
            x = ops.exp(self.log_loo(ops.log(ops.maximum(x, PROBABILITY_FLOOR)), z_t, t))
        alpha_s, alpha_t = per_state(self.signal(s).alpha), per_state(self.signal(t).alpha)
        alpha_ts = alpha_t / ops.maximum(alpha_s, SIGNAL_FLOOR)
        from_z = alpha_ts * ops.one_hot(z_t, K, dtype="float32") + (1.0 - alpha_ts) / K
        product = from_z * (alpha_s * ops.cast(x, "float32") + (1.0 - alpha_s) / K)
        return product / ops.sum(product, axis=-1, keepdims=True)

    def sample_posterior(self, x, z_t, s, t, seed):
        """Multiply the posterior out: `z_s` is `z_t`, is `x`, or is uniform, with these odds.

        | `z_s` | odds |
        |---|---|
        | `x` | `(1 - α_ts) α_s / K`, and `α_ts α_s` more where `x = z_t` |
        | `z_t` | `α_ts (1 - α_s) / K` |
        | uniform | `(1 - α_ts) (1 - α_s) / K` |
        """
        K = self.vocabulary_size
        choice_seed, noise_seed = random.split(seed, 2)
        x = ops.cast(x, "int32")
        alpha_s, alpha_t = per_token(self.signal(s).alpha), per_token(self.signal(t).alpha)
        alpha_ts = alpha_t / ops.maximum(alpha_s, SIGNAL_FLOOR)
        agree = ops.cast(ops.equal(x, z_t), "float32")
        to_x = (1.0 - alpha_ts) * alpha_s / K + agree * alpha_ts * alpha_s
        to_z = alpha_ts * (1.0 - alpha_s) / K
        to_noise = (1.0 - alpha_ts) * (1.0 - alpha_s) / K
        u = random.uniform(ops.shape(z_t), choice_seed) * (to_x + to_z + to_noise)
        noise = self.prior(ops.shape(z_t), noise_seed)
        return ops.where(u < to_x, x, ops.where(u < to_x + to_z, z_t, noise))

    def nelbo_cost(self, logits, z_t, t):
        """The rate of KL between posteriors for every clean token k, `(batch, length, K)`.

        With `x̄ = Kα x + (1 - α)`, the same `ŷ` from the leave-one-out prediction, `i = z_t`:

            1/K [ Σ_j (x̄_j / x̄_i) log( x̄_j ŷ_i / (x̄_i ŷ_j) ) - K/x̄_i + K/ŷ_i ]

        (UDLM, arXiv 2412.10193, eq. 13, and Duo, arXiv 2506.10892.) For `x = k`, `x̄` has only two
        values, `a = 1 - α` and `b = Kα + 1 - α`, so the sum over j is closed and a table over all k
        costs O(K).
        """
        K = self.vocabulary_size
        alpha = per_state(self.signal(t).alpha)
        a = ops.maximum(1.0 - alpha, NOISE_FLOOR)
        b = K * alpha + a
        log_ratio = ops.log(b) - ops.log(a)
        y = K * alpha * ops.exp(self.log_loo(logits, z_t, t)) + a
        log_y = ops.log(y)
        log_y_i = ops.expand_dims(gather(log_y, z_t), -1)
        # d_j = log(ŷ_i / ŷ_j); it is 0 at j = i.
        d = log_y_i - log_y
        total = ops.sum(d, axis=-1, keepdims=True)
        same = ops.one_hot(z_t, K, dtype="float32")
        k_is_i = (a / b) * (total - (K - 1) * log_ratio) - K / b  # x̄_i = b, all others a
        k_is_not_i = (b / a) * (log_ratio + d) + (total - d) - K / a  # x̄_k = b, others a
        return (ops.where(same > 0, k_is_i, k_is_not_i) + K * ops.exp(-log_y_i)) / K
