"""One update of a network's weights, left out where it is not finite, and the end of a run of such."""

import collections
import contextlib
import heapq
import itertools
import sys
import threading
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_dmmd import backend
from keras_dmmd.training.micro_batches import sum_over_parts

# Updates in a row that may be left out. The loss scale of float16 begins at 2^15 and halves each time.
PATIENCE = 25


class Update(NamedTuple):
    """What became of an update.

    Attributes:
        loss: the loss, 0 where it was left out.
        logs: what `loss_and_logs` returned beside it.
        norm: of the gradients, 0 where it was left out.
        finite: whether it was made, 1.0 or 0.0.
    """

    loss: Any
    logs: Any
    norm: Any
    finite: Any


def update(parts, losses_and_logs, batch, micro_batches=1):
    """Descend losses, each unless it or one of its gradients is NaN or infinite.

    Args:
        parts: a list of an optimizer and the variables that it is built for, each.
        losses_and_logs: a function of the batch that returns for every part a scalar, of which replicas
            have parts that add up to the loss, and a dict of scalars, which are those of the whole
            batch. Only its own part's variables have a gradient in a loss.
        batch: a tuple of nests of tensors `(rows, ...)`.
        micro_batches: into how many parts it is cut, at least; logs are then means over these.

    Returns:
        An `Update` for each part.
    """
    sizes = [len(variables) for _, variables in parts]
    every = [variable for _, variables in parts for variable in variables]

    def found(*batch):
        def scaled():
            made = losses_and_logs(*batch)
            losses = [o.scale_loss(loss) for (o, _), (loss, _) in zip(parts, made, strict=True)]
            return sum(losses), made

        (_, made), gradients = backend.value_and_grad(scaled, every)
        losses, logs = zip(*made, strict=True)
        return [ops.stop_gradient(loss) for loss in losses], list(logs), ops.ones(()), gradients

    if micro_batches == 1:
        losses, logs, _, gradients = found(*batch)
    else:
        losses, logs, number, gradients = sum_over_parts(found, batch, micro_batches)
        # Replicas may have cut theirs into other numbers of parts: means over all of these.
        names = [list(own) for own in logs]
        values = [own[name] for own, found in zip(logs, names, strict=True) for name in found]
        *values, number = backend.sum_over_replicas([*values, number])
        values = iter([value / number for value in values])
        logs = [{name: next(values) for name in found} for found in names]
    summed = iter(backend.sum_over_replicas([*losses, *gradients]))
    losses = list(itertools.islice(summed, len(parts)))
    gradients = [list(itertools.islice(summed, size)) for size in sizes]
    return [_descend(*own) for own in zip(parts, losses, logs, gradients, strict=True)]


def _descend(part, loss, logs, gradients):
    """One optimizer's step, if all is finite: an `Update`."""
    optimizer, variables = part
    scale = optimizer.scale_loss(ops.ones(()))
    norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients)) / scale
    finite = ops.logical_and(ops.isfinite(loss), ops.isfinite(norm))
    # A LossScaleOptimizer leaves such updates out itself, and lowers its scale.
    own = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    backend.apply_gradients(optimizer, gradients, variables, None if own else finite)
    logs = {name: ops.where(finite, value, 0.0) for name, value in logs.items()}
    loss, norm = (ops.where(finite, value, 0.0) for value in (loss, norm))
    return Update(loss, logs, norm, ops.cast(finite, "float32"))


class Count(keras.metrics.Sum):
    """A sum of what all replicas count, each the same.

    Its result is no alias of its state, which JAX lends to the next step.
    """

    def add_variable(self, *args, **kwargs):
        return super().add_variable(*args, **{**kwargs, "aggregation": "mean"})

    def result(self):
        return super().result() * 1.0


class Guard(keras.callbacks.Callback):
    """Stops training once `PATIENCE` updates in a row were left out; `check` then raises.

    Training ends with the batch after them, or a few later where Keras tells of batches from threads.
    """

    async_safe = True

    def __init__(self):
        super().__init__()
        self.where = None
        self.in_a_row = 0
        self.lock = threading.Lock()

    @property
    def is_well(self):
        """Whether the last update was made, and training has not been stopped."""
        return self.where is None and not self.in_a_row

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.skipped, self.counted = epoch, 0, -1
        self.begun, self.ended = collections.deque(), []

    def on_train_batch_begin(self, batch, logs=None):
        self.begun.append(batch)
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        self._stop()

    def _stop(self):
        # Only in the thread that trains: on JAX, Keras answers by taking the state out of its loop.
        if self.where is not None:
            self.model.stop_training = True

    def on_train_batch_end(self, batch, logs=None):
        # Where Keras tells this from several threads, a batch may come before those that it follows;
        # it waits for them.
        with self.lock:
            heapq.heappush(self.ended, (batch, (logs or {}).get("skipped", 0)))
            while self.ended and (len(self.begun) < 2 or self.ended[0][0] < self.begun[1]):
                self.begun.popleft()
                self._count(*heapq.heappop(self.ended))

    def _count(self, batch, skipped):
        new, batches = int(skipped - self.skipped), batch - self.counted
        # Of several batches in one execution, fewer than one each were not all in a row.
        self.in_a_row = self.in_a_row + new if new >= batches else 0
        self.skipped, self.counted = skipped, batch
        if self.in_a_row >= PATIENCE and self.where is None:
            self.where = f"{self.in_a_row} updates up to epoch {self.epoch + 1}, batch {batch + 1}"

    def check(self):
        """Raise a `FloatingPointError` where training was stopped."""
        if self.where is not None:
            raise FloatingPointError(
                f"Training diverged: in {self.where}, the loss or a gradient was NaN or infinite. They "
                "were left out; the weights are those of the last finite update. Try a lower learning "
                "rate, a warm-up or `global_clipnorm=1.0`, and start from weights that are finite."
            )


@contextlib.contextmanager
def averages_unless_error(optimizer):
    """A context in which `fit` writes an EMA over the weights at its end, but not after an error.

    Nor where every update was left out, of which Keras's average is 0.
    """
    write, handled = optimizer.finalize_variable_values, sys.exc_info()[1]

    def finalize_variable_values(var_list):
        if sys.exc_info()[1] is handled and int(ops.convert_to_numpy(optimizer.iterations)):
            write(var_list)

    optimizer.finalize_variable_values = finalize_variable_values
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
