"""All tokens that are likely enough."""

import keras
from keras import ops

from keras_dmmd import checks
from keras_dmmd.samplers.stepper import MaskStepper, draw_with_score, ranks


@keras.saving.register_keras_serializable("keras_dmmd")
class Threshold(MaskStepper):
    """Opens at each call every masked token that is likelier than a threshold, and the likeliest at
    least.

    `steps` is the most calls a sample may take; the last one fills all that is open. The network is
    told the time by the share of tokens that are open.

    Args:
        threshold: in [0, 1], of the probability of the token that was drawn.

    Example:

    ```python
    teacher, sampler = kd.from_preset("digits_masked_teacher"), kd.samplers.Threshold(0.5)
    images, calls = teacher.generate(4, steps=64, sampler=sampler, seed=0, return_calls=True)
    ```

    Reference:
        - [Fast-dLLM](https://arxiv.org/abs/2505.22618)
    """

    uses_times = False

    def __init__(self, threshold=0.9):
        self.threshold = checks.number("threshold", threshold, high=1.0)

    def time(self, process, z_t, t, state):
        return self.time_by_count(process, z_t, state)

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, _, _ = keys
        x, scores = prediction.each(draw_with_score, prediction.race(token_key))
        x = ops.cast(x, "int32")
        first = ops.equal(ranks(scores, process.is_open(z_t)), 0)
        chosen = ops.logical_or(first, ops.exp(scores) > self.threshold)
        return self.open_tokens(process, x, z_t, chosen, s, state)

    def get_config(self):
        return {"threshold": self.threshold}
