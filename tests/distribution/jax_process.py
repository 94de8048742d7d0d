"""One of two processes of JAX, on two virtual devices each: what they do is what one device does.

python -m tests.distribution.jax_process ADDRESS NUMBER FOLDER FIRST_EPOCH
"""

import json
import os
import signal
import sys

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import keras
import numpy as np

import keras_dmmd as kd
from keras_dmmd import backend
from keras_dmmd.training.batches import read_batches
from tests.builders import tiny_model, tokens

ROWS = 19  # the last batch is of three, which four devices do not divide


def scope(divides=True):
    """A distribution over the devices of both processes."""
    return kd.distribution.FullySharded(auto_shard_dataset=divides).scope()


def teacher():
    model = tiny_model(words=8)
    model.compile(keras.optimizers.Adam(0.05, global_clipnorm=0.5))
    return model


def state(*models):
    return [backend.to_numpy(v.value) for model in models for v in model.trainable_variables]


def results(written=None):
    """A model; losses, weights, predictions, samples and figures of it and of a distiller.

    `written` is where files are to be written, each process by a name of its own, and a sweep.
    """
    x, model = tokens(11), teacher()
    history = model.fit(x, batch_size=8, epochs=2, verbose=0).history["loss"]
    found = [np.array(history), *state(model), *model.evaluate(x[:8], batch_size=8, verbose=0)]
    found += [model.predict(x, batch_size=8, verbose=0), model.generate(5, steps=2, seed=3)]
    distiller = kd.DMMDDistiller(tiny_model(words=8), steps=2, noise=None)  # which copies its weights
    distiller.compile(*(keras.optimizers.SGD(0.1) for _ in range(2)))
    logs = distiller.fit(x[:8], batch_size=8, verbose=0).history
    found += [*(value for _, value in sorted(logs.items())), *state(distiller)]
    if written is not None:
        model.save(f"{written}_model.keras")
        model.save_to_preset(f"{written}_preset", card={"rows": 11})
        written = os.path.join(os.path.dirname(written), "sweep")
    return model, [*found, *swept(model, written), *state(model)]


class Features(keras.Model):
    """The mean embedding of a row."""

    def __init__(self):
        super().__init__()
        self.table = keras.layers.Embedding(8, 4)
        self.table.build()
        self.built = True

    def call(self, tokens):
        return keras.ops.mean(self.table(tokens), axis=1)


def swept(model, folder):
    """Figures of a sweep, of two seeds: by a network's features, by a model, and of each row once."""
    keras.utils.set_random_seed(1)
    metrics = [
        kd.metrics.FrechetDistance(Features(), np.arange(60).reshape(12, 5) % 8),
        kd.metrics.BitsPerToken(tiny_model(seed=4, words=8), batch_size=8),
        kd.metrics.SampleScore(lambda ids: {"rows": len(ids), "ids": ids.sum()}, "sums"),
    ]
    report = kd.evaluate({"m": model}, [2], metrics, samples=11, seeds=(0, 1), folder=folder, verbose=0)
    (row,) = report.rows
    return [row[name] for name in report.figures]


def rows_of(x, number, processes):
    """Sources that give each process all rows, and such that give each its own."""
    import grain
    import tensorflow as tf
    import torch

    data = torch.utils.data.TensorDataset(torch.as_tensor(x))
    own = torch.utils.data.Subset(data, range(number, len(x), processes))
    whole = {
        "arrays": x,
        "tf.data": tf.data.Dataset.from_tensor_slices(x).shuffle(len(x), seed=1).batch(8),
        "DataLoader": torch.utils.data.DataLoader(data, batch_size=8),
        "Grain": grain.MapDataset.source(x).seed(3).shuffle().to_iter_dataset().batch(8),
    }
    parts = {
        "own tf.data": tf.data.Dataset.from_tensor_slices(x).shard(processes, number).batch(4),
        "own DataLoader": torch.utils.data.DataLoader(own, batch_size=4, shuffle=True),
        "own Grain": grain.MapDataset.source(x)[number::processes].to_iter_dataset().batch(4),
        "own generator": ((x[i : i + 4],) for i in range(4 * number, len(x), 4 * processes)),
    }
    return whole, parts


def seen():
    """The first ids of the rows that this process gets from every source, batch after batch."""
    x, number = np.arange(ROWS * 5).reshape(ROWS, 5), jax.process_index()
    model = tiny_model(words=ROWS * 5)
    found = {}
    for divides, sources in zip((True, False), rows_of(x, number, jax.process_count()), strict=True):
        with scope(divides):
            for name, source in sources.items():
                batches = read_batches(model.reader, source, batch_size=8, shuffle=True)
                found[name] = []
                for batch in batches.get_jax_iterator():
                    ids = np.asarray(batch[0] if isinstance(batch, tuple) else batch)[:, 0]
                    is_whole = keras.distribution.distribution() is None  # of both processes
                    found[name].append((bool(is_whole), ids.tolist()))
                found[name].append(batches.num_batches)
    return found


def refused():
    """What is said of data that are not as they must be, and of a file that no process can write."""
    number, said, model = jax.process_index(), [], teacher()

    def fit(*starts, **options):
        model.fit(((tokens(16)[i : i + 4],) for i in starts), verbose=0, **options)

    def breaks():
        yield (tokens(4),) if number else (tokens(8)[4:],)
        if number:
            raise OSError("disk")
        yield (tokens(12)[8:],)

    wrong = [tokens(8), tokens(8) + 9 * number]  # ids that there are not, in one process
    calls = [
        (True, lambda: fit(4 * number)),
        (True, lambda: model.fit(tokens(16)[8 * number :], verbose=0)),
        (False, lambda: fit(0)),
        (False, lambda: fit(*range(0, 4 * number, 4))),
        (False, lambda: model.fit(breaks(), verbose=0)),
        (True, lambda: model.fit(((x,) for x in wrong), verbose=0)),
        (True, lambda: fit(0, callbacks=[kd.callbacks.BackupAndResume("unwritten")])),
    ]
    for divides, call in calls:
        with scope(divides):
            try:
                call()
            except (OSError, RuntimeError, ValueError) as error:
                said.append(str(error))
    return said


class Killed(keras.callbacks.Callback):
    """Ends the second process in the second epoch, without a word."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder, *callbacks, first_epoch=0):
    """Epochs of two updates, each of which is written down; losses and weights."""
    model = teacher()
    if first_epoch:
        model.load_weights(folder)
    backup = keras.callbacks.OrbaxCheckpoint(folder, save_on_background=False)
    options = {"epochs": 3, "initial_epoch": first_epoch, "verbose": 0}
    history = model.fit(tokens(16), batch_size=8, callbacks=[backup, *callbacks], **options).history
    return [np.array(history["loss"]), *state(model)]


def main(address, number, folder, first_epoch):
    jax.distributed.initialize(address, 2, number, heartbeat_timeout_seconds=30)
    keras.utils.set_random_seed(0)
    path = os.path.join(folder, f"{number}_")
    with scope():
        if first_epoch:
            np.savez(f"{path}resumed.npz", *train(f"{folder}/run", first_epoch=first_epoch))
            return
        np.savez(f"{path}results.npz", *results(f"{folder}/{number}")[1])
        with open(f"{path}said.json", "w") as file:
            json.dump({"seen": seen(), "refused": refused()}, file)
        try:
            train(f"{folder}/run", Killed())
        except RuntimeError as error:
            with open(f"{path}lost", "w") as file:
                file.write(str(error))
            os._exit(0)  # nor wait for the other one


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
