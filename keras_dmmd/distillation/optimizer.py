"""Two optimizers that take turns, seen by Keras as one."""

import keras


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
        self._parts = parts
        self._inner_optimizers = [optimizer for optimizer, _ in parts]

    def build(self, var_list):
        if self.built:
            return
        for optimizer, variables in self._parts:
            optimizer.build(variables)
        self._var_to_optimizer_idx = {
            self._var_key(v): i for i, (_, variables) in enumerate(self._parts) for v in variables
        }
        keras.optimizers.Optimizer.build(self, var_list)

    def advance(self):
        """Count one alternation: `iterations` is what callbacks and logs read."""
        self.iterations.assign_add(1)
