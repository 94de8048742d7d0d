"""The likeliest tokens first."""

import keras
from keras import ops

from keras_dmmd import checks, random
from keras_dmmd.samplers.stepper import MaskStepper, count_open, draw_with_score, ranks
from keras_dmmd.tensors import entropies

SCORES = ("probability", "margin", "entropy")


@keras.saving.register_keras_serializable("keras_dmmd")
class Confidence(MaskStepper):
    """Opens at each call the masked tokens of which the network is surest, as many as the grid says.

    After a call from t to s the share `1 - α_s` of the tokens that were to be filled is left open,
    rounded; at least one is opened, so that no call is wasted. What is sure comes first, so samples are
    likelier and less varied than ancestral ones: rare beginnings are put off until they are ruled out.

    Args:
        score: by what tokens are ranked. `"probability"`: that of the token which was drawn (MaskGIT,
            LLaDA). `"margin"`: how much likelier the first choice is than the second, `p_1 - p_2`.
            `"entropy"`: the least of the whole prediction.
        randomness: Gumbel noise of this size times t is added to the scores, for more variety (MaskGIT
            adds it to log-probabilities, falling to 0). 0 is none.

    Example:

    ```python
    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=8, sampler=kd.samplers.Confidence(score="margin"))
    ```

    Reference:
        - [MaskGIT](https://arxiv.org/abs/2202.04200)
        - [Train for the Worst, Plan for the Best](https://arxiv.org/abs/2502.06768), the margin
        - [Large Language Diffusion Models](https://arxiv.org/abs/2502.09992)
    """

    def __init__(self, score="probability", randomness=0.0):
        self.score = checks.choice("score", score, SCORES)
        self.randomness = checks.number("randomness", randomness)

    def steps(self, asked, default, num_open):
        return min(default, max(1, num_open)) if asked is None else asked

    def step(self, process, prediction, z_t, s, t, state, keys):
        token_key, position_key, _ = keys
        x, scores = prediction.each(self._draw, prediction.race(token_key))
        x = ops.cast(x, "int32")
        gumbel = -ops.log(random.exponential(ops.shape(scores), position_key))
        scores = scores + self.randomness * ops.expand_dims(t, -1) * gumbel
        left = ops.round(state[0] * (1.0 - process.signal(s).alpha))
        number = ops.maximum(count_open(process, z_t) - left, 1.0)
        rank = ranks(scores, process.is_open(z_t))
        chosen = ops.cast(rank, "float32") < ops.expand_dims(number, -1)
        return self.open_tokens(process, x, z_t, chosen, s, state)

    def _draw(self, log_probs, sharpened, race):
        x, probability = draw_with_score(log_probs, sharpened, race)
        if self.score == "probability":
            return x, probability
        if self.score == "entropy":
            return x, -entropies(log_probs)
        first, second = ops.split(ops.exp(ops.top_k(log_probs, 2)[0]), 2, axis=-1)
        return x, ops.squeeze(first - second, axis=-1)

    def get_config(self):
        return {"score": self.score, "randomness": self.randomness}
