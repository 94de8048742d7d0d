"""The ancestral sampler."""

import keras

from keras_dmmd.samplers.stepper import Step, Stepper


@keras.saving.register_keras_serializable("keras_dmmd")
class Ancestral(Stepper):
    """`x ~ Cat(x̂(z_t, t))`, then `z_s ~ q(z_s | z_t, x)`: the default, for every process.

    Exact as the number of calls grows. Under masked diffusion which tokens open is left to chance.

    Example:

    ```python
    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=8, sampler=kd.samplers.Ancestral())
    ```

    Reference:
        - [Structured Denoising Diffusion Models](https://arxiv.org/abs/2107.03006)
        - [Simple and Effective Masked Diffusion Language Models](https://arxiv.org/abs/2406.07524)
    """

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, position_key, _ = keys
        where = process.where_drawn(z_t, s, t, position_key) if prediction.in_tiles else None
        x = prediction.draw(token_key, where)
        return Step(process.sample_posterior(x, z_t, s, t, position_key), state)
