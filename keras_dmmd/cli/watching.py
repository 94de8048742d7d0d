"""What is seen of a training on the way: bits of held-out data, time, samples."""

import csv
import dataclasses
import os
import time

import keras

from keras_dmmd.cli.pictures import save_grid
from keras_dmmd.cli.showing import lines
from keras_dmmd.files import replacing

BITS = "val_bits_per_dim"  # among the logs
SHOWN = 2  # texts on the screen
PICTURED = 16  # images in a file
SHORTEST = 80  # characters of a text on one line of the screen
MOST_CALLS = 32  # of a sample on the way


@dataclasses.dataclass
class Run:
    """What a training is, and when its present epoch began.

    Attributes:
        updates: in all.
        per_epoch: of an epoch.
        folder: where samples and the log go.
        channels: of images.
    """

    updates: int
    per_epoch: int
    folder: str
    channels: int
    began: float = 0.0


class Watch(keras.callbacks.Callback):
    """Says after every epoch where training has come to, and shows samples.

    Writes `training.csv`, and `samples.txt` or a picture for each look. It stands before the callback
    that keeps a checkpoint, which has its log then, and gives it to a run that goes on. That keeps
    plain attributes: `run` is none, since it belongs to a process.

    Args:
        run: a `Run`.

    Attributes:
        log: a dict for each epoch, with `"update"`, `"loss"`, `"seconds"` so far, and `"bits"` per
            token on held-out data where there are some.
    """

    def __init__(self, run):
        super().__init__()
        self.run, self.log = run, []

    @property
    def seconds(self):
        """How long training took until now, over all processes that had a part in it."""
        return self.log[-1]["seconds"] if self.log else 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.run.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        run, logs = self.run, logs or {}
        seconds = self.seconds + time.monotonic() - run.began
        done = (epoch + 1) * run.per_epoch
        left = seconds / done * (run.updates - done) / 60
        line = {"update": done, "loss": float(logs["loss"]), "seconds": round(seconds, 2)}
        measured = ""
        if BITS in logs:
            before = f" ({self.log[-1]['bits']:.4g} before)" if self.log else ""
            line["bits"] = float(logs[BITS])
            measured = f"{line['bits']:.4g} bits per token on held-out data{before}, "
        self.log.append(line)
        print(f"update {done:,} of {run.updates:,}: {measured}{left:.1f} minutes left", flush=True)
        with (
            replacing(os.path.join(run.folder, "training.csv")) as path,
            open(path, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(line))
            writer.writeheader()
            writer.writerows(self.log)
        self._show(done)

    def _show(self, done):
        model, run = self.model, self.run
        is_picture = model.capabilities.grid is not None
        samples = model.generate(
            PICTURED if is_picture else SHOWN, steps=min(model.steps, MOST_CALLS), verbose=0
        )
        if is_picture:
            path = os.path.join(run.folder, f"samples_{done:06d}.png")
            save_grid(path, samples, model, run.channels)
            print(f"  samples: {path}", flush=True)
            return
        shown = lines(model, samples)
        # A run begins its file anew.
        mode = "w" if done == run.per_epoch else "a"
        with open(os.path.join(run.folder, "samples.txt"), mode, encoding="utf-8") as file:
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
