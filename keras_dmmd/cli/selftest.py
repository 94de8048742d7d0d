"""The last part of `keras-dmmd doctor`: a tiny model trains, distils and samples."""

import math
import time

import keras
import numpy as np
from keras import layers, ops

from keras_dmmd import backend
from keras_dmmd.diffusion import MaskedDiffusion
from keras_dmmd.distillation import DMMDDistiller
from keras_dmmd.evaluation.machine import machine
from keras_dmmd.training import DiffusionModel

LENGTH, LETTERS = 4, 3  # of rows that repeat one letter
UPDATES, ROUNDS, SAMPLES = 25, 2, 64  # updates of each of two epochs
MOST_BITS = 1.35  # per token, in the second epoch, where log2(3) = 1.585 is what knows nothing


@keras.saving.register_keras_serializable("keras_dmmd")
class SelfTestNetwork(layers.Layer):
    """A perceptron of whole rows: it learns what a transformer would, and is compiled in no time."""

    vocabulary_size, num_states = LETTERS, LETTERS + 1

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(32, "relu", name="hidden")
        self.head = layers.Dense(LENGTH * LETTERS, name="head")

    def build(self, input_shape=None):
        self.hidden.build((None, LENGTH * self.num_states + 1))
        self.head.build((None, 32))

    def call(self, z_t, t):
        rows = ops.reshape(ops.one_hot(z_t, self.num_states), (-1, LENGTH * self.num_states))
        hidden = self.hidden(ops.concatenate([rows, ops.expand_dims(t, -1)], axis=-1))
        return ops.reshape(self.head(hidden), (-1, LENGTH, LETTERS))


def backend_and_devices():
    """The backend that runs, and its devices, two strings."""
    return machine()["backend"], backend.device_name()


def selftest():
    """Train, distil and sample; yields a name and an outcome for each, strings.

    Raises:
        RuntimeError: what came out is not what a model must have learned.
    """
    keras.utils.set_random_seed(0)
    rows = np.repeat(np.arange(60) % LETTERS, LENGTH).reshape(-1, LENGTH).astype("int32")
    model = DiffusionModel(SelfTestNetwork(), MaskedDiffusion(LETTERS), length=LENGTH, steps=LENGTH)
    model.build((None, LENGTH))
    clock = _Clock()
    model.compile(keras.optimizers.Adam(0.02))
    losses = model.fit(rows, batch_size=20, steps_per_epoch=UPDATES, epochs=2, verbose=0).history
    bits = losses["loss"][-1] / math.log(2)
    yield "training", clock(f"{bits:.3f} bits per token")
    if not bits < MOST_BITS:
        raise RuntimeError(
            f"Training went wrong: {bits:.3f} bits per token, where at most {MOST_BITS} were expected. "
            "Try another backend, and report this."
        )
    # Most of its time is compilation, and so is half as long: both updates of one draw, no moments.
    distiller = DMMDDistiller(model, steps=2, noise=None, simultaneous=True)
    distiller.compile("sgd", "sgd")
    distiller.fit(rows, batch_size=20, steps_per_epoch=ROUNDS, verbose=0)
    yield "distillation", clock(f"{ROUNDS} rounds")
    samples = distiller.student.generate(SAMPLES)
    if samples.shape != (SAMPLES, LENGTH) or not ((samples >= 0) & (samples < LETTERS)).all():
        raise RuntimeError("Sampling went wrong: some tokens are none. Try another backend.")
    yield "sampling", clock(f"{SAMPLES} samples in 2 calls")


class _Clock:
    """Seconds since it was asked last."""

    def __init__(self):
        self.last = time.monotonic()

    def __call__(self, outcome):
        seconds, self.last = time.monotonic() - self.last, time.monotonic()
        return f"{outcome}, {seconds:.1f} s"
