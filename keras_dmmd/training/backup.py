"""A run that was killed goes on to the same bits, at any step."""

import collections
import contextlib
import os
import re
import warnings

import keras
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.locks import Lock
from keras_dmmd.training.rates import fixed_rates
from keras_dmmd.training.remembering import (
    global_streams,
    own_streams,
    pack,
    set_global_streams,
    texts,
    unpack,
)
from keras_dmmd.training.updates import Guard

NAME = re.compile(r"epoch_(\d+)_step_(\d+)\.weights\.h5")
KEPT = 2  # files in a folder: should the last one be damaged, there is one before it
# Callbacks of Keras that a list of them has anyway; the history is kept apart.
# A CSVLogger looks for itself whether its file has a header.
UNREMEMBERED = (keras.callbacks.History, keras.callbacks.ProgbarLogger, keras.callbacks.CSVLogger)


class BackupAndResume(keras.callbacks.Callback):
    """Goes on where a run that was killed had come to, with the bits that it would have had.

    Like `keras.callbacks.BackupAndRestore`, for this library's models, and to the step: weights,
    optimizers, random streams, metrics, the order of the data, the logs of finished epochs, and what
    the other callbacks of the list have changed in their plain attributes (`EarlyStopping`,
    `ReduceLROnPlateau`, …) are in one file, which replaces the one before in one move. The last two are
    kept. A file that is damaged is told from its digest, and the one before is taken. What cannot be
    written is a warning, and training goes on. A folder belongs to one process at a time.

    While updates are left out as not finite, nothing is written, and a run that diverged keeps its
    files: compiled with a lower rate, the same call goes on from the last one. Arguments of other
    callbacks, too, are those of the call that goes on.

    The order of arrays is a function of the model's seed and the epoch. Loaders and data sets that
    shuffle by Python's, numpy's or Torch's global stream find these as they were when the epoch began;
    a `tf.data` pipeline is asked for the finished epochs again. What draws its order from elsewhere
    must do so by the epoch.

    Of several processes that train together the first reads and writes the files, and gives the others
    what it read.

    Args:
        folder: where the files are, one run's alone.
        save_freq: `"epoch"`, or a number of batches.
        delete_checkpoint: whether the files are deleted when training has ended well.

    Raises:
        OSError: the folder cannot be written, another process has it, or no file in it is whole.
        ValueError: its files are those of another model, or of data of another size; on JAX, several
            processes train, for which there is `keras.callbacks.OrbaxCheckpoint`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    model = kd.from_preset("digits_masked_teacher")
    model.compile()
    backup = kd.callbacks.BackupAndResume("runs/teacher", save_freq=500)
    model.fit(tokens, epochs=5, callbacks=[backup])  # the same call goes on after a kill
    ```
    """

    def __init__(self, folder, save_freq="epoch", delete_checkpoint=True):
        super().__init__()
        if not (isinstance(save_freq, str) and save_freq == "epoch"):
            save_freq = checks.count("save_freq", save_freq)
        self.folder = os.path.abspath(checks.path("folder", folder))
        self.save_freq = save_freq
        self.delete_checkpoint = checks.flag("delete_checkpoint", delete_checkpoint)
        self.batches, self.guard, self.others = None, None, ()
        self.resumed = None  # facts and arrays of the file that training goes on from
        self.lock = None

    @property
    def async_safe(self):
        """Whether Keras may tell this of batches from a thread: where it does nothing then."""
        return self.save_freq == "epoch" and not any(step for _, step, _ in self._files())

    def attach(self, batches, callbacks):
        """Called by `fit`: the `Batches`, and all callbacks."""
        self.batches = batches
        self.guard = next((c for c in callbacks if isinstance(c, Guard)), None)  # `fit` alone has one
        self.others = [
            callback
            for callback in callbacks
            if callback is not self and not isinstance(callback, UNREMEMBERED)
        ]

    # Beginning ------------------------------------------------------------------------------------

    def on_train_begin(self, logs=None):
        if self.batches is None:
            raise ValueError("BackupAndResume is for the models of keras_dmmd: `fit` of another ran.")
        backend.check_backup()
        backend.from_first(self._lock)
        self.epoch = self.step = self.since_saved = 0
        # Logs of epochs, and Keras's record of them, which a `CallbackList` of one's own may lack.
        self.finished, self.history = [], getattr(self.model, "history", None)
        self.given = {name: texts(vars(callback)) for name, callback in _named(self.others).items()}
        self.resumed = backend.from_first(self._load)
        self.model._begin_together()  # where the first process has come to
        if self.resumed is None:
            return
        facts, _ = self.resumed
        # A rate of the file may have been lowered since; one that is compiled anew is the user's word.
        given = self.model.given_rates
        rates = zip(fixed_rates(self.model.optimizer), given, facts.get("rates", given), strict=True)
        for variable, rate, before in rates:
            if rate != before:
                variable.assign(rate)
        self.epoch, step = facts["epoch"], facts["step"]
        if step and facts["steps"] != self.params["steps"]:
            raise ValueError(
                f"The checkpoint in {self.folder!r} is of the middle of an epoch of {facts['steps']} "
                f"batches. Received: data of {self.params['steps']} batches"
            )
        if step % self.model.steps_per_execution:
            raise ValueError(
                f"The checkpoint in {self.folder!r} was written after {step} batches of an epoch; "
                "`steps_per_execution` must divide that. Received: steps_per_execution="
                f"{self.model.steps_per_execution}"
            )
        self.model._initial_epoch = self.params["epochs"] if facts["stopped"] else self.epoch
        self.batches.seed = facts["seed"]
        self.batches.begin(*facts["position"])
        if not step or facts["stopped"]:  # before an epoch, or the end of training, for them
            self._give_back()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.step = epoch, 0
        if self.resumed is None:
            self.streams = global_streams()
            return
        facts, arrays = self.resumed
        self.streams = own_streams(facts["streams"])
        set_global_streams(self.streams)
        if not facts["step"]:
            self._give_history()
            return
        for i, variable in enumerate(self.model.metrics_variables):
            variable.assign(arrays[f"metric_{i}"])
        last = facts.get("last_streams")  # files of before have none
        self._pass_over(facts["step"], None if last is None else own_streams(last))

    def _lock(self):
        self.lock = Lock(self.folder)

    def _pass_over(self, steps, streams):
        """Have the next batches of the epoch pass without training: they were seen.

        Then the global streams are where training had brought them: on Torch what layers of Keras drop
        out without a seed of their own is of Torch's.
        """
        model, train = self.model, self.model.train_function
        left = steps

        def train_again():
            model.train_function = train
            self._give_back()
            self._give_history()

        def train_function(*args):
            nonlocal left
            if left > 0:
                left -= model.steps_per_execution
                passed = backend.pass_over(model.steps_per_execution, *args)
                if left <= 0 and streams is not None:  # before the next batch is read
                    set_global_streams(streams)
                return passed
            train_again()
            return train(*args)

        model.train_function, self._train_again = train_function, train_again

    def _give_back(self):
        """Give the other callbacks what they had; it is no argument, and always written from now on."""
        # Not by `self.model` or what asks for it: that would synchronise JAX's state within a step.
        facts, arrays = self.resumed
        for name, callback in _named(self.others).items():
            had = unpack(facts["callbacks"].get(name, {}), arrays)
            vars(callback).update(had)
            self.given[name] = {k: text for k, text in self.given[name].items() if k not in had}

    def _give_history(self):
        """Give the history its epochs: after it has begun anew."""
        (facts, _), self.resumed = self.resumed, None
        self.step, self.finished = facts["step"], facts["finished"]
        for epoch, logs in self.finished if self.history is not None else ():
            self.history.epoch.append(epoch)
            for name, value in logs.items():
                self.history.history.setdefault(name, []).append(value)

    # Saving ---------------------------------------------------------------------------------------

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq == "epoch" or self.resumed is not None:
            return
        new, self.step = batch + 1 - self.step, batch + 1
        self.since_saved += new
        # What is due after the last batch waits for the end of the epoch.
        if self.since_saved >= self.save_freq and self.step != self.params["steps"]:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        if self.resumed is not None:  # all batches of this epoch were seen
            self._train_again()
        self.epoch, self.step = epoch + 1, 0
        self.finished.append([epoch, _numbers(logs or {})])
        self.streams = global_streams()
        if self.save_freq == "epoch" or self.since_saved >= self.save_freq:
            self._save()

    def on_train_end(self, logs=None):
        if self.resumed is not None:  # there was nothing left to train
            self._give_history()
        if self.lock is None:  # another process writes
            return
        if self.delete_checkpoint and self.guard.where is None:
            for _, _, path in self._files():
                os.remove(path)
        self.lock.release()

    def _save(self):
        if not self.guard.is_well:
            return
        self.since_saved = 0
        # Each process has its own.
        streams = backend.gather_objects({"first": self.streams, "last": global_streams()})
        if self.lock is None:
            return
        arrays = {}
        if self.step:
            values = enumerate(self.model.metrics_variables)
            arrays = {f"metric_{i}": ops.convert_to_numpy(v) for i, v in values}
        facts = {
            "epoch": self.epoch,
            "step": self.step,
            "steps": self.params["steps"],
            "stopped": bool(self.model.stop_training),
            "position": self.batches.position(self.epoch, self.params["steps"]),
            "seed": list(self.batches.seed),
            "streams": [own["first"] for own in streams],
            "last_streams": [own["last"] for own in streams],
            "finished": self.finished,
            "rates": self.model.given_rates,
            "callbacks": {
                name: pack(vars(callback), self.given[name], name, arrays)
                for name, callback in _named(self.others).items()
            },
        }
        path = os.path.join(self.folder, f"epoch_{self.epoch:05d}_step_{self.step:08d}.weights.h5")
        try:
            self.model.save_sealed(path, facts, arrays)
            for _, _, old in self._files()[:-KEPT]:
                os.remove(old)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            last = self._files()
            warnings.warn(
                f"The checkpoint {path!r} could not be written; training goes on, and the last one is "
                f"{last[-1][2] if last else 'missing'}. Cause: {error}",
                stacklevel=2,
            )

    # Files ----------------------------------------------------------------------------------------

    def _files(self):
        """Epoch, step and path of each file, the last one last."""
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        found = [match for match in map(NAME.fullmatch, names) if match]
        return sorted((int(m[1]), int(m[2]), os.path.join(self.folder, m[0])) for m in found)

    def _load(self):
        """Load the last file that is whole, and return its facts and arrays; `None` without a file."""
        files = self._files()
        for _, _, path in reversed(files):
            try:
                return self.model.load_sealed(path)
            except OSError as error:
                warnings.warn(f"{error} The checkpoint before is taken, if any.", stacklevel=2)
        if files:
            raise OSError(
                f"Every checkpoint in {self.folder!r} is damaged. Move them away to begin anew."
            )
        return None


def _numbers(logs):
    """Those logs that are numbers, as Keras tells them."""
    found = {}
    for name, value in logs.items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = float(value)
    return found


def _named(callbacks):
    """Callbacks by their class and their number among those of it, `"EarlyStopping 0"`."""
    found, counts = {}, collections.Counter()
    for callback in callbacks:
        name = type(callback).__name__
        found[f"{name} {counts[name]}"] = callback
        counts[name] += 1
    return found
