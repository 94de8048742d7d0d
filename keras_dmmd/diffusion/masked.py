"""Masked (absorbing-state) diffusion."""

import keras
from keras import ops

from keras_dmmd import random
from keras_dmmd.diffusion.process import DiffusionProcess
from keras_dmmd.tensors import SIGNAL_FLOOR, certain, per_token


@keras.saving.register_keras_serializable("keras_dmmd")
class MaskedDiffusion(DiffusionProcess):
    """Tokens turn into a mask, each at its own random time, and stay masked.

    `q(z_t | x)` keeps `x` with probability α_t and is `mask_id = K` otherwise. `mean` and
    leave-one-out predictions coincide: a masked position says nothing of its own token.

    Args:
        vocabulary_size: K, clean tokens `0 .. K - 1`; the mask is one id more.
        schedule: a name or a schedule object.

    Example:

    ```python
    process = kd.MaskedDiffusion(vocabulary_size=17, schedule="cosine")
    model = kd.DiffusionModel(kd.Denoiser(17, grid=(8, 8)), process)
    z_t = process.corrupt(np.arange(17)[None], np.array([0.5]), seed=0)  # some are 17, the mask
    ```

    Reference:
        - [Simple and Effective Masked Diffusion Language Models](https://arxiv.org/abs/2406.07524)
        - [Simplified and Generalized Masked Diffusion](https://arxiv.org/abs/2406.04329)
    """

    absorbing = True
    constant_prior = True  # which need not be asked of the noise

    def __init__(self, vocabulary_size, schedule="linear"):
        super().__init__(vocabulary_size, schedule)

    def noise(self, t):
        """All mass on the mask."""
        return ops.one_hot(ops.full_like(t, self.mask_id, dtype="int32"), self.num_states)

    def corrupt(self, x, t, seed):
        alpha, _ = self.signal(t)
        keep = random.uniform(ops.shape(x), seed) < per_token(alpha)
        return ops.where(keep, ops.cast(x, "int32"), self.mask_id)

    def prior(self, shape, seed):
        del seed
        return ops.full(shape, self.mask_id, dtype="int32")

    def stay_masked(self, s, t):
        """`(1 - α_s) / (1 - α_t)`, `(batch,)`: a masked token's chance to be masked still."""
        noise_s, noise_t = 1.0 - self.signal(s).alpha, 1.0 - self.signal(t).alpha
        return ops.clip(noise_s / ops.maximum(noise_t, SIGNAL_FLOOR), 0.0, 1.0)

    def posterior(self, x, z_t, s, t):
        """A token that is known stays; a masked one stays masked, or else becomes `x`."""
        if len(x.shape) == 2:
            x = ops.one_hot(x, self.vocabulary_size, dtype="float32")
        stay = ops.expand_dims(per_token(self.stay_masked(s, t)), -1)
        stay = ops.broadcast_to(stay, (*ops.shape(x)[:-1], 1))
        revealed = ops.concatenate([(1.0 - stay) * ops.cast(x, "float32"), stay], axis=-1)
        unmasked = ops.one_hot(z_t, self.num_states, dtype="float32")
        return ops.where(ops.expand_dims(self.is_open(z_t), -1), revealed, unmasked)

    def where_drawn(self, z_t, s, t, seed):
        """The masks that are lifted: which, does not depend on what they become."""
        reveal = random.uniform(ops.shape(z_t), seed) >= per_token(self.stay_masked(s, t))
        return ops.logical_and(self.is_open(z_t), reveal)

    def sample_posterior(self, x, z_t, s, t, seed):
        return ops.where(self.where_drawn(z_t, s, t, seed), ops.cast(x, "int32"), z_t)

    def log_mean_open(self, logits, z_t, t):
        del z_t, t
        return ops.log_softmax(ops.cast(logits, "float32"), axis=-1)

    def log_mean(self, logits, z_t, t):
        log_probs = self.log_mean_open(logits, z_t, t)
        known = certain(z_t, self.num_states)[..., : self.vocabulary_size]
        return ops.where(ops.expand_dims(self.is_open(z_t), -1), log_probs, known)

    def log_loo(self, logits, z_t, t):
        """The prediction as it stands: what is masked says nothing of itself."""
        return self.log_mean_open(logits, z_t, t)

    def cost(self, logits, z_t, t):
        """`-log x̂_k` where `z_t` is masked, 0 elsewhere (MDLM, eq. 10)."""
        log_probs = self.log_mean_open(logits, z_t, t)
        return -log_probs * ops.cast(ops.expand_dims(self.is_open(z_t), -1), "float32")

    def nelbo_cost(self, logits, z_t, t):
        """The training loss is the bound itself: `-α'/(1 - α) Σ_masked CE(x, x̂)`."""
        return self.cost(logits, z_t, t)

    def loss_weight(self, t):
        """`-α'/(1 - α)`."""
        return self.nelbo_weight(t)

    def nelbo_weight(self, t):
        """`-α'/(1 - α)`: what a mask says of its token, by the rate at which masks are lifted."""
        alpha, derivative = self.signal(t)
        return -derivative / ops.maximum(1.0 - alpha, self.time_epsilon)
