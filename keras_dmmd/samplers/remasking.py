"""Tokens that go back to masks, and are written anew."""

import keras
import numpy as np
from keras import ops

from keras_dmmd import checks, random
from keras_dmmd.samplers.stepper import Step, Stepper
from keras_dmmd.tensors import SIGNAL_FLOOR, per_token

# σ's size that the paper found best for text, by strategy.
ETA = {"cap": 0.04, "rescale": 0.04, "loop": 0.02}


@keras.saving.register_keras_serializable("keras_dmmd")
class Remasking(Stepper):
    """Masked diffusion that can mend: an opened token becomes a mask again with probability σ.

    For the marginals to stay those of the process, `σ <= σ_max = min(1, (1 - α_s) / α_t)`, and a masked
    token opens with probability `(α_s - (1 - σ) α_t) / (1 - α_t)`; σ = 0 is ancestral. Unlike ancestral
    samples these go on gaining with more calls than there are tokens.

    Args:
        strategy: `"cap"`: `σ = min(η, σ_max)`. `"rescale"`: `σ = η σ_max`. `"loop"`: none of it until
            the share `loop_alpha` of tokens is open; then, at a signal that stands still, `σ = min(η,
            σ_max)`; and none of it at last. The grid is stretched for that: the loop begins at
            `loop_start` and ends at `loop_end`.
        eta: η; by default 0.04, and 0.02 for `"loop"`.
        loop_start, loop_end: between 1 and 0.
        loop_alpha: α at which the loop stands.

    Example:

    ```python
    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=16, sampler=kd.samplers.Remasking(strategy="loop"))
    ```

    Reference:
        - [Remasking Discrete Diffusion Models with Inference-Time Scaling](https://arxiv.org/abs/2503.00307)
    """

    absorbing_only = True

    def __init__(self, strategy="cap", eta=None, loop_start=0.55, loop_end=0.05, loop_alpha=0.9):
        self.strategy = checks.choice("strategy", strategy, ETA)
        self.eta = checks.number("eta", ETA[strategy] if eta is None else eta, high=1.0)
        self.loop_start = checks.number("loop_start", loop_start, high=1.0)
        self.loop_end = checks.number("loop_end", loop_end, high=self.loop_start)
        self.loop_alpha = checks.number("loop_alpha", loop_alpha, high=1.0)

    def grid(self, process, steps, times):
        times = super().grid(process, steps, times)
        if self.strategy != "loop":
            return times
        alphas = np.interp(
            -times,
            [-1.0, -self.loop_start, -self.loop_end, 0.0],
            [0.0, self.loop_alpha, self.loop_alpha, 1.0],
        )
        found = ops.convert_to_numpy(process.time_of(ops.convert_to_tensor(alphas, "float32")))
        found[0], found[-1] = 1.0, 0.0
        return np.minimum.accumulate(found)

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, position_key, _ = keys
        alpha_s, alpha_t = process.signal(s).alpha, process.signal(t).alpha
        sigma_max = ops.minimum((1.0 - alpha_s) / ops.maximum(alpha_t, SIGNAL_FLOOR), 1.0)
        sigma = self.eta * sigma_max if self.strategy == "rescale" else ops.minimum(self.eta, sigma_max)
        if self.strategy == "loop":
            sigma = ops.where(ops.equal(s, t), sigma, 0.0)
        opens = (alpha_s - (1.0 - sigma) * alpha_t) / ops.maximum(1.0 - alpha_t, SIGNAL_FLOOR)
        opens = ops.where(s <= 0.0, 1.0, opens)  # in exact arithmetic it is 1 there
        u = random.uniform(ops.shape(z_t), position_key)
        opens = ops.logical_and(process.is_open(z_t), u < per_token(opens))
        opened = ops.where(opens, prediction.draw(token_key, opens), z_t)
        remasked = ops.where(u < per_token(sigma), process.mask_id, z_t)
        return Step(ops.where(process.is_open(z_t), opened, remasked), state)

    def get_config(self):
        return {
            "strategy": self.strategy,
            "eta": self.eta,
            "loop_start": self.loop_start,
            "loop_end": self.loop_end,
            "loop_alpha": self.loop_alpha,
        }
