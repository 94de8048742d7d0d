"""Keras's progress bar for a sampler."""

import contextlib

import keras

from keras_dmmd import backend

# Runs of fewer calls are over before a bar is read.
LONG = 256


class Progress(contextlib.AbstractContextManager):
    """A bar of one step per network call; silent for short runs under `"auto"`.

    Args:
        verbose: 0, 1, or `"auto"`.
        total: the calls that are to come, at the most.
    """

    def __init__(self, verbose, total):
        self.bar = None
        self.total, self.done = total, 0
        if verbose == "auto":
            verbose = total >= LONG
        if verbose:
            self.bar = keras.utils.Progbar(total, unit_name="call")

    def advance(self, z):
        """One call more, which made `z`."""
        if self.bar is None:
            return
        self.done += 1
        if self.done % 8 == 0:
            backend.synchronize(z)  # or the bar would run ahead of the device
        self.bar.update(min(self.done, self.total))

    def __exit__(self, *error):
        if self.bar is not None and error[0] is None:
            self.bar.update(self.total, finalize=True)
