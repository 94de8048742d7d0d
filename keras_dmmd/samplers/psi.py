"""Between the posterior and the forward process."""

import keras
from keras import ops

from keras_dmmd import checks, random
from keras_dmmd.samplers.stepper import Step, Stepper


@keras.saving.register_keras_serializable("keras_dmmd")
class Psi(Stepper):
    """`z_s ~ κ q(z_s | z_t, x) + (1 - κ) q(z_s | x)` with `x ~ Cat(x̂(z_t, t))`, for every process.

    With κ = 1 it is the ancestral sampler. A smaller κ forgets part of `z_t` at every step and draws it
    anew, so that mistakes do not stay: under masked diffusion this is a kind of remasking. The
        marginals
    are those of the process for every κ, and samples go on gaining with more calls.

    Args:
        kappa: κ in [0, 1], the chance of each token to take the posterior's step.

    Example:

    ```python
    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=16, sampler=kd.samplers.Psi(kappa=0.9))
    ```

    Reference:
        - [The Diffusion Duality, Chapter II: Ψ-Samplers](https://arxiv.org/abs/2602.21185)
    """

    def __init__(self, kappa=0.95):
        self.kappa = checks.number("kappa", kappa, high=1.0)

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, position_key, more_key = keys
        coin_key, forward_key = random.split(more_key, 2)
        x = prediction.draw(token_key)
        posterior = process.sample_posterior(x, z_t, s, t, position_key)
        forward = process.corrupt(x, s, forward_key)
        keep = random.uniform(ops.shape(z_t), coin_key) < self.kappa
        return Step(ops.where(keep, posterior, forward), state)

    def get_config(self):
        return {"kappa": self.kappa}
