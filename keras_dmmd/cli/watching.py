"""What is seen of a training on the way: bits of held-out data or losses, time, samples."""

import csv
import dataclasses
import os
import time

import keras

from keras_dmmd.callbacks import sampled_model
from keras_dmmd.cli.pictures import save_grid
from keras_dmmd.cli.showing import lines
from keras_dmmd.files import replacing
from keras_dmmd.metrics.statistics import with_error

BITS = "bits_per_dim"  # of what `evaluate` returns
CORRUPTIONS = 4  # of a held-out row, where they cost little
CALLS_PER_UPDATE = 3  # of the network: its gradient is two more
SHARE = 0.25  # of the time, which looks may take
SHOWN = 2  # texts on the screen
PICTURED = 16  # images in a file
SHORTEST = 80  # characters of a text on one line of the screen
MOST_CALLS = 32  # of a sample on the way


def in_epochs(unit, number, most):
    """How many epochs of one size there are, of at most `most` updates or rounds, and that size.

    They may hold a few more than were asked for, which is then said.
    """
    epochs = -(-number // most)
    per_epoch = -(-number // epochs)
    if epochs * per_epoch != number:
        print(f"{epochs * per_epoch:,} {unit}s, {epochs} times {per_epoch}, in place of {number:,}.")
    return epochs, per_epoch


@dataclasses.dataclass
class Run:
    """What a training is, and when its present epoch began.

    Attributes:
        updates: in all, of the unit that is counted.
        per_epoch: of an epoch.
        folder: where samples and the log go.
        channels: of images.
        held_out: what `DiffusionModel.evaluate` takes of held-out data, or `None`.
        batch_size: of these.
    """

    updates: int
    per_epoch: int
    folder: str
    channels: int
    held_out: tuple | None = None
    batch_size: int = 32
    began: float = 0.0

    @property
    def corruptions(self):
        """Of each held-out row: several where that takes about a tenth of the time of the updates."""
        calls = CORRUPTIONS * -(-len(self.held_out[0]) // self.batch_size)
        return CORRUPTIONS if calls <= CALLS_PER_UPDATE * self.per_epoch / 10 else 1


class Watch(keras.callbacks.Callback):
    """Says after every epoch where training has come to, and shows samples.

    Writes `training.csv`, and `samples.txt` or a picture for each look. Between the first look and the
    last some are left out, where they would take more than `SHARE` of the time. It stands before the
    callback that keeps a checkpoint, which has its log then, and gives it to a run that goes on. That
    keeps plain attributes: `run` is none, since it belongs to a process.

    Args:
        run: a `Run`.

    Attributes:
        log: a dict for each epoch, with `"update"`, `"loss"`, `"seconds"` so far, and, where it was
            looked at held-out data, `"bits"` per token and their standard error, `"bits_error"`.
        seconds: how long training took until now, looks included, over all processes that had a part.
        looked: how much of that were looks.
    """

    unit = "update"
    losses = ("loss",)

    def __init__(self, run):
        super().__init__()
        self.run, self.log, self.seconds, self.looked = run, [], 0.0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.run.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        run, now = self.run, time.monotonic()
        self.seconds += now - run.began
        done = (epoch + 1) * run.per_epoch
        looks = not self.log or done == run.updates or self.looked <= SHARE * self.seconds
        line = {self.unit: done, **{name: float(logs[name]) for name in self.losses}}
        line["seconds"] = round(self.seconds, 2)
        said = [f"{name.replace('_', ' ')} {line[name]:.4g}" for name in self.losses]
        if run.held_out is not None:
            said = [self._bits(line)] if looks else []
        self.log.append(line)
        left = self.seconds / done * (run.updates - done) / 60
        said.append(f"{left:.1f} minutes left")
        print(f"{self.unit} {done:,} of {run.updates:,}: {', '.join(said)}", flush=True)
        with (
            replacing(os.path.join(run.folder, "training.csv")) as path,
            open(path, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(self.log[0]))
            writer.writeheader()
            writer.writerows(self.log)
        if looks:
            self._show(done)
            self.looked += time.monotonic() - now
            self.seconds += time.monotonic() - now

    def _bits(self, line):
        """Measures held-out data, for a line of the log, and says what it found."""
        options = {"corruptions": self.run.corruptions, "batch_size": self.run.batch_size}
        found = self.model.evaluate(*self.run.held_out, **options, verbose=0, return_dict=True)
        line["bits"], line["bits_error"] = map(float, (found[BITS], found[f"{BITS}_error"]))
        before = next((old["bits"] for old in self.log[::-1] if "bits" in old), None)
        before = "" if before is None else f" ({before:.3g} before)"
        measured = with_error(line["bits"], line["bits_error"])
        return f"{measured} bits per token on held-out data{before}"

    def _show(self, done):
        model, run = sampled_model(self.model), self.run
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
            print(f"{self.unit} {done}", *shown, sep="\n", file=file)
        for text in shown:
            print(f"  {text[:SHORTEST]!r}", flush=True)


class WatchRounds(Watch):
    """The same of a distillation: its rounds, both losses, and samples of the student."""

    unit = "round"
    losses = ("student_loss", "critic_loss")


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
