"""The bound in bits per token, and how well it is known."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_dmmd")
class MeanAndError(keras.metrics.Mean):
    """A weighted mean of independent values, and its standard error under `<name>_error`.

    With `m = Σ w v / Σ w` over n values the error is `√(n / (n - 1) Σ w² (v - m)²) / Σ w`.
    """

    def __init__(self, name="mean", dtype=None):
        super().__init__(name=name, dtype=dtype)
        # Of the squares of weights alone, times values, and times their squares.
        self.sums = [
            self.add_variable(shape=(), initializer="zeros", name=f"squares_{i}") for i in range(3)
        ]
        self.number = self.add_variable(shape=(), initializer="zeros", name="number")

    def update_state(self, values, sample_weight=None):
        super().update_state(values, sample_weight)
        values = ops.cast(values, self.dtype)
        weights = (
            ops.ones_like(values) if sample_weight is None else ops.cast(sample_weight, self.dtype)
        )
        for i, total in enumerate(self.sums):
            total.assign_add(ops.sum(ops.square(weights) * values**i))
        self.number.assign_add(ops.sum(ops.cast(weights > 0, self.dtype)))

    def reset_state(self):
        super().reset_state()
        for total in (*self.sums, self.number):
            total.assign(0.0)

    def result(self):
        mean = super().result()
        squares, first, second = (ops.convert_to_tensor(total) for total in self.sums)
        spread = ops.maximum(second - 2.0 * mean * first + mean**2 * squares, 0.0)
        spread = spread * self.number / ops.maximum(self.number - 1.0, 1.0)
        error = ops.sqrt(spread) / ops.maximum(
            ops.convert_to_tensor(self.count), keras.config.epsilon()
        )
        return {self.name: mean, f"{self.name}_error": error}
