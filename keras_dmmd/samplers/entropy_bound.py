"""As many tokens as depend little on each other."""

import keras
from keras import ops

from keras_dmmd import backend, checks, random
from keras_dmmd.samplers.stepper import MaskStepper, count_open, ranks
from keras_dmmd.sampling.truncation import sharpen
from keras_dmmd.tensors import entropies


@keras.saving.register_keras_serializable("keras_dmmd")
class EntropyBound(MaskStepper):
    """Opens at each call the surest tokens, as long as what they can know of each other is bounded.

    Tokens that are drawn at once are drawn apart. What that loses is at most `Σ H_l - max H_l`, the sum
    of their entropies but for the largest. So tokens are taken in the order of their entropy while this
    sum stays within the bound; with a bound of 0 one token opens at each call, with an infinite one all
    do.

    A row also ends once the network is sure of all the rest: the mean entropy of open tokens is below
    `confidence_threshold`, and the likeliest tokens have not changed for `stability_threshold` calls.

    `steps` is the most calls a sample may take; the last one fills all that is open. The network is
    told the time by the share of tokens that are open.

    Args:
        entropy_bound: γ, nats.
        confidence_threshold: nats per token; 0 switches that end off.
        stability_threshold: calls.
        start_temperature, end_temperature: of the predictions at the first call and at the end, a
            straight line between; entropies are those at it, draws also at the temperature of
            `generate`. DiffusionGemma goes from 0.8 to 0.4.

    Example:

    ```python
    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=16, sampler=kd.samplers.EntropyBound(entropy_bound=1.0))
    ```

    Reference:
        - [Accelerated Sampling from Masked Diffusion Models via Entropy Bounded Unmasking](https://arxiv.org/abs/2505.24857)
    """

    def __init__(
        self,
        entropy_bound=0.1,
        confidence_threshold=0.005,
        stability_threshold=1,
        start_temperature=1.0,
        end_temperature=1.0,
    ):
        self.entropy_bound = checks.number("entropy_bound", entropy_bound, infinite=True)
        self.confidence_threshold = checks.number("confidence_threshold", confidence_threshold)
        self.stability_threshold = checks.count("stability_threshold", stability_threshold)
        self.start_temperature = checks.number("start_temperature", start_temperature)
        self.end_temperature = checks.number("end_temperature", end_temperature)

    def init(self, process, z_1, key):
        """The count of open tokens, the likeliest tokens, and for how many calls they were those."""
        (number,) = super().init(process, z_1, key)
        return number, ops.full_like(z_1, -1), ops.zeros_like(number)

    def time(self, process, z_t, t, state):
        return self.time_by_count(process, z_t, state)

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, _, _ = keys
        number, before, stable = state
        ramp = self.end_temperature + (self.start_temperature - self.end_temperature) * t
        x, entropy, likeliest = prediction.each(_draw, prediction.race(token_key), ramp)
        x, likeliest = ops.cast(x, "int32"), ops.cast(likeliest, z_t.dtype)
        is_open = process.is_open(z_t)
        chosen = self._within_bound(entropy, is_open)
        same = ops.logical_or(ops.equal(likeliest, before), ops.logical_not(is_open))
        stable = ops.where(ops.all(same, axis=-1), stable + 1.0, 0.0)
        mean = ops.sum(entropy, axis=-1) / ops.maximum(count_open(process, z_t), 1.0)
        sure = ops.logical_and(mean < self.confidence_threshold, stable >= self.stability_threshold)
        chosen = ops.logical_or(chosen, ops.expand_dims(sure, -1))
        return self.open_tokens(process, x, z_t, chosen, s, (number, likeliest, stable))

    def _within_bound(self, entropy, is_open):
        """Which tokens are taken: those before them, in the order of entropy, sum to the bound."""
        rank = ranks(-entropy, is_open)
        ordered = backend.gather_last(entropy, ops.argsort(rank, axis=-1))
        # The running sum less the largest, which in this order is the last: exactly 0 for the first.
        before = ops.cumsum(ops.pad(ordered[:, :-1], ((0, 0), (1, 0))), axis=-1)
        return backend.gather_last(before <= self.entropy_bound, rank)

    def get_config(self):
        return {
            "entropy_bound": self.entropy_bound,
            "confidence_threshold": self.confidence_threshold,
            "stability_threshold": self.stability_threshold,
            "start_temperature": self.start_temperature,
            "end_temperature": self.end_temperature,
        }


def _draw(log_probs, sharpened, race, ramp):
    """A token, its prediction's entropy and likeliest token, all at a temperature more, `(rows,)`."""
    ramp = ops.expand_dims(ramp, (-2, -1))
    log_probs = sharpen(log_probs, ramp)
    x = random.winner(sharpen(sharpened, ramp), race)
    return x, ops.maximum(entropies(log_probs), 0.0), ops.argmax(log_probs, axis=-1)
