"""What is seen of a training on the way: bits of held-out data, time, samples."""

import os
import time

import keras

from keras_dmmd.cli.pictures import save_grid
from keras_dmmd.cli.showing import lines

SHOWN = 2  # texts on the screen
PICTURED = 16  # images in a file
SHORTEST = 80  # characters of a text on one line of the screen
MOST_CALLS = 32  # of a sample on the way


class Watch(keras.callbacks.Callback):
    """Says after every epoch where training has come to, and shows samples.

    Args:
        updates: of the whole run, over its epochs.
        per_epoch: of an epoch.
        folder: where samples go, `samples.txt`, or a picture for each look.
        channels: of images.
    """

    def __init__(self, updates, per_epoch, folder, channels):
        super().__init__()
        self.updates, self.per_epoch = updates, per_epoch
        self.folder, self.channels = folder, channels
        # A run that goes on is given these as they were: `BackupAndResume` keeps plain attributes.
        self.seconds, self.bits = 0.0, []

    def on_train_begin(self, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        self.seconds += now - self._started
        done = (epoch + 1) * self.per_epoch
        left = self.seconds / done * (self.updates - done) / 60
        bits = (logs or {}).get("val_bits_per_dim")
        measured = ""
        if bits is not None:
            before = f" ({self.bits[-1]:.4g} before)" if self.bits else ""
            measured = f"{bits:.4g} bits per token on held-out data{before}, "
            self.bits.append(float(bits))
        print(f"update {done:,} of {self.updates:,}: {measured}{left:.1f} minutes left", flush=True)
        self._show(done)
        self._started = time.monotonic()

    def _show(self, done):
        model = self.model
        is_picture = model.capabilities.grid is not None
        samples = model.generate(
            PICTURED if is_picture else SHOWN, steps=min(model.steps, MOST_CALLS), verbose=0
        )
        if is_picture:
            path = os.path.join(self.folder, f"samples_{done:06d}.png")
            save_grid(path, samples, model, self.channels)
            print(f"  samples: {path}", flush=True)
            return
        shown = lines(model, samples)
        with open(os.path.join(self.folder, "samples.txt"), "a", encoding="utf-8") as file:
            print(f"update {done}", *shown, sep="\n", file=file)
        for text in shown:
            print(f"  {text[:SHORTEST]!r}", flush=True)


class Clock(keras.callbacks.Callback):
    """Measures the seconds of an update, and ends a training as soon as they are known.

    The first epoch compiles and does not count.

    Attributes:
        seconds: of an update.
    """

    LEAST = 2.0  # seconds that are looked at

    def __init__(self, per_epoch):
        super().__init__()
        self.per_epoch, self.seconds = per_epoch, None

    def on_epoch_end(self, epoch, logs=None):
        now = time.monotonic()
        if epoch == 0:
            self._started = now
            return
        self.seconds = (now - self._started) / (epoch * self.per_epoch)
        if now - self._started > self.LEAST:
            self.model.stop_training = True
