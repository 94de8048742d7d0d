"""Steps that are long at first, and shorten while the student learns."""

import math

from keras import ops

from keras_dmmd import checks
from keras_dmmd.distillation.rounds import CountedRounds

FIRST = 2  # calls of the student that a run begins with


class Curriculum(CountedRounds):
    """Mixin of a distiller that draws proposals: it begins with steps of a student for two calls.

    In a long step the student draws many tokens together, and what it is judged by is whether they
    agree. In a short one it draws few, by which it is hard to tell what its noise should mean: the more
    calls it is made for, the longer it stays where its teacher is (docs/results.md). The number of
    calls c, by which a step is at most `1/c` long, rises geometrically: `c = 2^(1-u) k^u`, where u goes
    from 0 to 1 over the first rounds.

    Evaluation is of `steps` calls, whatever the round.
    """

    curriculum_rounds = 0

    def begin_curriculum(self, curriculum_rounds):
        """Take the number of first rounds; 0 is none, and leaves weights as they are without one."""
        self.curriculum_rounds = curriculum_rounds
        if curriculum_rounds:
            self.count_rounds()

    def draw_calls(self, batch_size, key):
        calls, key = super().draw_calls(batch_size, key)
        if not self.curriculum_rounds or not self.in_training:
            return calls, key
        u = ops.minimum(ops.cast(self.rounds, calls.dtype) / self.curriculum_rounds, 1.0)
        return calls * ops.exp(math.log(FIRST / self.steps) * (1.0 - u)), key


def read_rounds(rounds, steps, recipe):
    """The argument `curriculum_rounds`, for a student of `steps`, as `read_steps` returned it.

    Raises:
        ValueError: it is no count, the paper's recipe has none, or there are no longer steps to begin
            with.
    """
    rounds = checks.count("curriculum_rounds", rounds, least=0)
    if rounds and recipe == "paper":
        raise ValueError(
            '`recipe="paper"` has steps of one length: leave out `curriculum_rounds`, or the recipe. '
            f"Received: curriculum_rounds={rounds}"
        )
    if rounds and (isinstance(steps, tuple) or steps <= FIRST):
        raise ValueError(
            f"`curriculum_rounds` are for a student of one number of calls above {FIRST}, which begins "
            f"with the steps of one for {FIRST}. Received: curriculum_rounds={rounds}, steps={steps}"
        )
    return rounds
