"""The rounds of a distillation that must know how many there were."""


class CountedRounds:
    """Mixin of a distiller: a weight counts its rounds, from `count_rounds` on.

    So a file, a new optimizer and a new process go on with them.

    Attributes:
        rounds: that weight, an integer, or `None`.
    """

    rounds = None

    def count_rounds(self):
        """Begin with 0, before anything is trained."""
        self.rounds = self.add_weight(
            name="rounds", shape=(), initializer="zeros", dtype="int32", trainable=False
        )

    def end_round(self):
        super().end_round()
        if self.rounds is not None:
            self.rounds.assign_add(1)
