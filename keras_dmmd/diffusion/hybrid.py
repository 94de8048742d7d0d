"""Masks and random tokens at once."""

import keras
from keras import ops

from keras_dmmd import checks, random
from keras_dmmd.diffusion.process import DiffusionProcess
from keras_dmmd.tensors import SIGNAL_FLOOR, per_token


@keras.saving.register_keras_serializable("keras_dmmd")
class HybridDiffusion(DiffusionProcess):
    """Tokens turn into a mask or into a random token, in a proportion that moves with time.

    `q(z_t | x) = α_t x + (1 - α_t) [(1 - u_t) mask + u_t / K]`, where the share of random tokens goes
    with the signal, `u_t = u_1 + (u_0 - u_1) α_t`, so that it begins at `u_0` and ends at `u_1`. A
    network that has met random tokens among clean ones learns to doubt what it is shown, and samplers
    can mend; masks tell it where to write. For shares in [0, 1] this is a Markov process under every
    schedule.

    With `u_0 = u_1 = 0` it is masked diffusion, with `u_0 = u_1 = 1` uniform diffusion with a mask that
    never occurs.

    Args:
        vocabulary_size: K, clean tokens `0 .. K - 1`; the mask is one id more.
        schedule: a name or a schedule object.
        uniform_share: u_0, the share of random tokens in the first noise.
        final_uniform_share: u_1, that in `z_1`, from which samples start. 0: all masks.
        prediction: `"mean"` or `"loo"`, see `UniformDiffusion`.

    Example:

    ```python
    process = kd.HybridDiffusion(vocabulary_size=17, uniform_share=0.5)
    model = kd.DiffusionModel(kd.Denoiser(17, grid=(8, 8)), process)
    z_t = process.corrupt(np.arange(17)[None], np.array([0.5]), seed=0)  # masks and random tokens
    ```

    Reference:
        - [Generalized Interpolating Discrete Diffusion](https://arxiv.org/abs/2503.04482), which has
          another proportion: π_t as a quotient of polynomials of t.
    """

    predictions = ("mean", "loo")

    def __init__(
        self,
        vocabulary_size,
        schedule="linear",
        uniform_share=0.5,
        final_uniform_share=0.0,
        prediction="mean",
    ):
        super().__init__(vocabulary_size, schedule, prediction)
        self.uniform_share = checks.number("uniform_share", uniform_share, high=1.0)
        self.final_uniform_share = checks.number("final_uniform_share", final_uniform_share, high=1.0)

    @property
    def num_states(self):
        return self.vocabulary_size + 1

    @property
    def constant_prior(self):
        return self.final_uniform_share == 0.0

    def share(self, t):
        """u_t, the share of random tokens in the noise, `(batch,)`."""
        slope = self.uniform_share - self.final_uniform_share
        return self.final_uniform_share + slope * ops.maximum(self.signal(t).alpha, 0.0)

    def _spread(self, tokens, mask):
        """A mass on all tokens and one on the mask, `(batch,)` each, as a row of states."""
        each = ops.repeat(per_token(tokens) / self.vocabulary_size, self.vocabulary_size, axis=-1)
        return ops.concatenate([each, per_token(mask)], axis=-1)

    def noise(self, t):
        share = self.share(t)
        return self._spread(share, 1.0 - share)

    def noise_derivative(self, t):
        """`u' = (u_0 - u_1) α'`."""
        slope = (self.uniform_share - self.final_uniform_share) * self.signal(t).derivative
        return self._spread(slope, -slope)

    def _draw_noise(self, shape, t, seed):
        kind_seed, token_seed = random.split(seed, 2)
        masked = random.uniform(shape, kind_seed) >= per_token(self.share(t))
        return ops.where(masked, self.mask_id, random.randint(shape, self.vocabulary_size, token_seed))

    def sample_posterior(self, x, z_t, s, t, seed):
        """Multiply the posterior out: `z_s` is `x`, `z_t`, a random token or the mask, with these odds.

        With the mass of random tokens `g = (1 - α) u` and of masks `h = (1 - α)(1 - u)`, and what comes
        to them from s to t, `G = g_t - α_ts g_s` and `H = h_t - α_ts h_s`:

        | `z_s` | odds for a token `z_t` | odds for a mask |
        |---|---|---|
        | `x` | `G α_s / K`, and `α_ts α_s` more where `x = z_t` | `H α_s` |
        | `z_t` | `α_ts g_s / K` | `α_ts h_s` |
        | random | `G g_s / K` | `H g_s` |
        | mask | `G h_s / K` | `H h_s` |
        """
        K = self.vocabulary_size
        choice_seed, noise_seed = random.split(seed, 2)
        x = ops.cast(x, "int32")
        alpha_s, alpha_t = per_token(self.signal(s).alpha), per_token(self.signal(t).alpha)
        alpha_ts = alpha_t / ops.maximum(alpha_s, SIGNAL_FLOOR)
        share_s, share_t = per_token(self.share(s)), per_token(self.share(t))
        g_s, h_s = (1.0 - alpha_s) * share_s, (1.0 - alpha_s) * (1.0 - share_s)
        G = ops.maximum((1.0 - alpha_t) * share_t - alpha_ts * g_s, 0.0)
        H = ops.maximum((1.0 - alpha_t) * (1.0 - share_t) - alpha_ts * h_s, 0.0)
        masked = ops.equal(z_t, self.mask_id)
        added = ops.where(masked, H, G / K)  # to what z_t is, from anywhere
        to_x = added * alpha_s + ops.where(ops.equal(x, z_t), alpha_ts * alpha_s, 0.0)
        to_z = alpha_ts * ops.where(masked, h_s, g_s / K)
        to_random, to_mask = added * g_s, added * h_s
        total = to_x + to_z + to_random + to_mask
        u = random.uniform(ops.shape(z_t), choice_seed) * total
        token = random.randint(ops.shape(z_t), K, noise_seed)
        rest = ops.where(u < to_x + to_z + to_random, token, self.mask_id)
        drawn = ops.where(u < to_x, x, ops.where(u < to_x + to_z, z_t, rest))
        return ops.where(total > 0, drawn, z_t)  # `x` cannot have become `z_t`: nothing is said

    def get_config(self):
        return {
            **super().get_config(),
            "uniform_share": self.uniform_share,
            "final_uniform_share": self.final_uniform_share,
        }
