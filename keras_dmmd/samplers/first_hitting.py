"""One token per call, at its own time."""

import keras
from keras import ops

from keras_dmmd import random
from keras_dmmd.samplers.stepper import MaskStepper, count_open, ranks


@keras.saving.register_keras_serializable("keras_dmmd")
class FirstHitting(MaskStepper):
    """Masked diffusion in continuous time, exactly, with one network call for each token.

    Of n masked tokens the next one opens when the noise `1 - α` has fallen by the factor `u^(1/n)`,
    `u ~ U(0, 1)`, and each is as likely to be it. So no time has to be cut into steps, and with the
    exact denoiser samples have exactly the distribution of the data. There is nothing to gain from more
    calls than tokens, and there is no way to use fewer.

    Example:

    ```python
    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=64, sampler=kd.samplers.FirstHitting(), seed=0)
    ```

    Reference:
        - [Masked Diffusion Models are Secretly Time-Agnostic Masked Models](https://arxiv.org/abs/2409.02908)
    """

    uses_times = False
    one_call_is_enough = False

    def steps(self, asked, default, num_open):
        if asked is not None and asked < num_open:
            raise ValueError(
                "The sampler 'first_hitting' opens one token per call. Received: "
                f"steps={asked}, for {num_open} tokens to fill"
            )
        return max(1, num_open)

    def init(self, process, z_1, key):
        """The count of open tokens, and the noise level `1 - α` at which the first one opens."""
        (number,) = super().init(process, z_1, key)
        return number, _next_level(ops.ones_like(number), number, key)

    def time(self, process, z_t, t, state):
        return process.time_of(1.0 - state[1])

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, position_key, level_key = keys
        number, level = state
        is_open = process.is_open(z_t)
        chosen = ops.equal(ranks(random.uniform(ops.shape(z_t), position_key), is_open), 0)
        x = prediction.draw(token_key, ops.logical_or(chosen, ops.expand_dims(s <= 0.0, -1)))
        level = _next_level(level, count_open(process, z_t) - 1.0, level_key)
        return self.open_tokens(process, x, z_t, chosen, s, (number, level))


def _next_level(level, number, key):
    """`(1 - α) u^(1/n)`, the noise level at which the next of n tokens opens, `(batch,)`."""
    u = 1.0 - random.uniform(ops.shape(level), key)  # in (0, 1]
    return level * u ** (1.0 / ops.maximum(number, 1.0))
