"""Callbacks of ours beside data: the first pass begins with training, and there was a batch."""

import keras

from keras_dmmd import backend
from keras_dmmd.training.batches import EMPTY


class FirstPass(keras.callbacks.Callback):
    """Has the first pass begin with training: Keras may have looked at a batch before.

    Args:
        batches: `Batches`.
        epoch, steps: the first epoch, and the `steps_per_epoch` of that call of `fit`.
    """

    async_safe = True

    def __init__(self, batches, epoch=0, steps=None):
        super().__init__()
        self.batches, self.epoch, self.steps = batches, epoch, steps

    def on_train_begin(self, logs=None):
        backend.show_devices()
        self.batches.begin_epoch(self.epoch, self.steps)


class AnyBatch(keras.callbacks.Callback):
    """Refuses data in which there was no batch, where nothing else shows it.

    Torch and TensorFlow would go on without a word, and without a result.
    """

    async_safe = True

    def __init__(self):
        super().__init__()
        self.found = set()

    def on_train_batch_end(self, batch, logs=None):
        self.found.add("train")

    def on_test_batch_end(self, batch, logs=None):
        self.found.add("test")

    def on_predict_batch_end(self, batch, logs=None):
        self.found.add("predict")

    def on_epoch_end(self, epoch, logs=None):
        self._check("train")

    def on_test_end(self, logs=None):
        self._check("test")

    def on_predict_end(self, logs=None):
        self._check("predict")

    def _check(self, phase):
        if phase not in self.found:
            raise ValueError(EMPTY)
