"""Steps that are long at first, and shorten while the student learns."""

import math

from keras import ops

from keras_dmmd import checks

FIRST = 2  # calls of the student that a run begins with


class Curriculum:
    """Mixin of a distiller that draws proposals: it begins with steps of a student for two calls.

    In a long step the student draws many tokens together, and what it is judged by is whether they
    agree. In a short one it draws few, by which it is hard to tell what its noise should mean: the more
    calls it is made for, the longer it stays where its teacher is (docs/results.md). The number of
    calls c, by which a step is at most `1/c` long, rises geometrically: `c = 2^(1-u) k^u`, where u goes
    from 0 to 1 over the first rounds.

    Attributes:
        curriculum_rounds: how many these are; with 0 all steps are those of `steps` calls.
    """

    curriculum_rounds = 0

    def draw_calls(self, batch_size, key):
        calls, key = super().draw_calls(batch_size, key)
        if not self.curriculum_rounds or not self.compiled:
            return calls, key
        u = ops.cast(self.optimizer.iterations, calls.dtype) / self.curriculum_rounds
        return calls * ops.exp(math.log(FIRST / self.steps) * (1.0 - ops.minimum(u, 1.0))), key


def read_rounds(rounds, steps):
    """The argument `curriculum_rounds`, for a student of `steps`, as `read_steps` returned it.

    Raises:
        ValueError: it is no count, or there are no longer steps to begin with.
    """
    rounds = checks.count("curriculum_rounds", rounds, least=0)
    if rounds and (isinstance(steps, tuple) or steps <= FIRST):
        raise ValueError(
            f"`curriculum_rounds` are for a student of one number of calls above {FIRST}, which begins "
            f"with the steps of one for {FIRST}. Received: curriculum_rounds={rounds}, steps={steps}"
        )
    return rounds
