"""Two optimizers that take turns, seen by Keras as one."""

import dataclasses
from typing import Any

import keras

from keras_dmmd import checks


@dataclasses.dataclass(frozen=True)
class Part:
    """An optimizer and what it trains. No tuple: variables in one Keras would take for the state."""

    optimizer: Any
    variables: list


class AlternatingOptimizer(keras.optimizers.MultiOptimizer):
    """A `MultiOptimizer` whose parts are stepped one at a time by a `train_step`.

    Keras keeps the state of `model.optimizer` alone in a compiled step, in checkpoints and in an EMA
    at the end of `fit`, so both optimizers hang below this one; callbacks find them in `optimizers`.
    Variables are told apart by identity: two copies of one network have equal paths. Unlike in its
    parent, a part may be a `LossScaleOptimizer`, for mixed float16.

    Args:
        parts: list of `(optimizer, variables)`.
    """

    def __init__(self, parts, name="alternating"):
        super().__init__(None, name=name)  # `build` knows which variable is whose
        self._parts = [Part(*part) for part in parts]
        self._inner_optimizers = [part.optimizer for part in self._parts]

    def build(self, var_list):
        if self.built:
            return
        for part in self._parts:
            part.optimizer.build(part.variables)
        self._var_to_optimizer_idx = {
            self._var_key(v): i for i, part in enumerate(self._parts) for v in part.variables
        }
        keras.optimizers.Optimizer.build(self, var_list)

    def finalize_variable_values(self, var_list):
        for part in self._parts:
            # Keras's average of no update at all is 0.
            if int(keras.ops.convert_to_numpy(part.optimizer.iterations)):
                part.optimizer.finalize_variable_values(part.variables)

    def advance(self):
        """Count one alternation: `iterations` is what callbacks and logs read."""
        self.iterations.assign_add(1)


def unending_adam(average, beta_1=0.0):
    """Adam for a distillation whose length is not known: the default of every method.

    Its rate, `1e-3 / (1 + rounds / 1000)`, is high at first, to find lost modes, and low in the end, to
    come to rest. Gradients are clipped to norm 1. A game of student and critic wants β1 = 0, with
    β2 = 0.99, as in moment matching (arXiv 2406.04103).

    Args:
        average: whether it keeps an EMA over about 200 rounds.
        beta_1: β1.
    """
    rate = keras.optimizers.schedules.InverseTimeDecay(1e-3, decay_steps=1000, decay_rate=1.0)
    ema = {"use_ema": True, "ema_momentum": 0.995} if average else {}
    return keras.optimizers.Adam(rate, beta_1=beta_1, beta_2=0.99, global_clipnorm=1.0, **ema)


def annealed_optimizers(rounds, learning_rate=1e-3, warmup=0, critic_steps=1):
    """The optimizers of a distillation whose length is known.

    The game of student and critic comes to no rest of its own: a rate that falls along a cosine to a
    twentieth, and an average of the student over about the last twelfth of the run, steady it. Adam
    has β1 = 0 and β2 = 0.99, as in moment matching (arXiv 2406.04103).

    Args:
        rounds: `train_step`s in all.
        learning_rate: of both at first.
        warmup: rounds over which the student's rate rises from 0: for a student that is trained
            already, until its critic, which starts as the teacher, has caught up with it.
        critic_steps: critic updates per round, as given to the distiller.

    Returns:
        A dict of arguments of `DMMDDistiller.compile`: `distiller.compile(**annealed_optimizers(500))`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.DMMDDistiller(teacher, steps=8)
    distiller.compile(**kd.annealed_optimizers(rounds=50))
    distiller.fit(tokens, batch_size=60, epochs=2)  # 25 rounds each
    ```
    """
    rounds = checks.count("rounds", rounds)
    warmup = checks.count("warmup", warmup, least=0)
    critic_steps = checks.count("critic_steps", critic_steps)
    learning_rate = checks.number("learning_rate", learning_rate)
    if not warmup < rounds:
        raise ValueError(
            f"`warmup` must be less than `rounds`. Received: warmup={warmup} and rounds={rounds}"
        )

    def adam(updates, warmup=0, **kwargs):
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else learning_rate,
            updates - warmup,
            alpha=0.05,
            warmup_target=learning_rate if warmup else None,
            warmup_steps=warmup,
        )
        return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.99, global_clipnorm=1.0, **kwargs)

    return {
        "student_optimizer": adam(rounds, warmup, use_ema=True, ema_momentum=rounds / (rounds + 12)),
        "critic_optimizer": adam(rounds * critic_steps),
    }
