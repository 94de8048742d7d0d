"""Evaluation: the bound in bits per token, its error, and draws that no batch size changes."""

import math

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, checks, random
from keras_dmmd.training.inputs import weighted


@keras.saving.register_keras_serializable("keras_dmmd")
class MeanAndError(keras.metrics.Mean):
    """A weighted mean of independent values, and its standard error under `<name>_error`.

    With `m = Σ w v / Σ w` over n values the error is `√(n / (n - 1) Σ w² (v - m)²) / Σ w`; NaN, since
    unknown, of a single one.
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
        spread = ops.where(self.number > 1.0, spread, float("nan"))
        spread = spread * self.number / ops.maximum(self.number - 1.0, 1.0)
        error = ops.sqrt(spread) / ops.maximum(
            ops.convert_to_tensor(self.count), keras.config.epsilon()
        )
        return {self.name: mean, f"{self.name}_error": error}


class Evaluation:
    """Mixin of `DiffusionModel`: `evaluate`."""

    _traced_corruptions = 1

    def evaluate(self, *args, corruptions=1, **kwargs):
        """`keras.Model.evaluate`: `loss`, `bits_per_dim` and `bits_per_dim_error`.

        The bound is a mean over tokens that are open, in bits, and its error the standard error of
        that mean over rows. What is drawn for a row depends on the model's seed and the row's place in
        the data, not on the batch size; the same model and data give the same figures.

        Args:
            corruptions: of each row, spread over time: an average over more of them is closer.
            *args, **kwargs: as of `keras.Model.evaluate`; `y` is labels.

        Raises:
            ValueError: several corruptions under a strategy of TensorFlow's, whose replicas would not
                have all of a row's.
        """
        self.corruptions = checks.count("corruptions", corruptions)
        backend.check_copies(self, corruptions)
        self._renew()
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self.corruptions = 1

    def _renew(self):
        """Forget what was compiled for another number of corruptions, too: there it is a constant."""
        super()._renew()
        if self._traced_corruptions != self.corruptions:
            self.test_function, self._traced_corruptions = None, self.corruptions

    def _evaluation_draws(self, n):
        """Times, and two keys per row, of the next `n` rows: of a row the same, whatever its batch."""
        state = ops.cast(self.evaluation_seed.state, "int32")  # the seed, and the rows so far
        key = backend.key(state * np.array([1, 0], "int32"))
        time_key, row_key = random.split(key, 2)
        first, _, total, _ = random.rows_of(n)
        start = state[1] + first
        keys = random.split(random.row_keys(row_key, start + ops.arange(n, dtype="int32")), 2)
        t = self.process.times_of(random.spread(time_key, start, n, self.corruptions))
        self.evaluation_seed.state.assign(state + ops.stack([0, ops.cast(total, "int32")]))
        return t, *keys

    def measure_bits(self, nats, counted, sample_weight):
        """Give the metric a batch: nats per open token, and how many tokens are, `(batch,)` each."""
        weights = weighted(ops.ones_like(nats) * counted, sample_weight)
        bits, weights = (
            ops.mean(ops.reshape(v, (-1, self.corruptions)), axis=1)
            for v in (nats / math.log(2.0), weights)
        )
        self.bits_metric.update_state(bits, sample_weight=weights)
