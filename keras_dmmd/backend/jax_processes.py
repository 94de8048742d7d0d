"""Several processes of JAX: one program runs on the devices of all, and each feeds its rows to it."""

import contextlib

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils
from keras.src.backend.jax.distribution_lib import distribute_tensor
from keras.src.distribution import distribution_lib

from keras_dmmd.backend.jax_devices import parts

# What stands in an error of a program whose other processes do not answer.
LOST = ("Gloo", "NCCL", "UNAVAILABLE", "heartbeat", "by peer")


def is_first():
    return jax.process_index() == 0


def reads_whole():
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.num_processes == 1:
        return False
    return distribution.auto_shard_dataset or data_part()[1] == 1


def data_part():
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.num_processes == 1:
        return 0, 1
    shards = min(distribution.num_model_replicas, distribution.num_processes)
    return distribution.data_shard_id, shards


@contextlib.contextmanager
def undivided():
    # Keras would divide a data set of tf.data, and end or wait where its batches do not go into parts.
    before = keras.distribution.distribution()
    distribution_lib.set_distribution(None)
    try:
        yield
    finally:
        distribution_lib.set_distribution(before)


def gather_integers(values):
    found = multihost_utils.process_allgather(np.array(values, "int32"))
    return found.reshape(-1, len(values)).astype("int64")


def whole_if_uneven(batch, sizes):
    if (sizes == sizes[0]).all() and sizes.sum() % parts() == 0:
        return None
    alike = jax.process_count() // len(sizes)  # processes that have the same rows

    def whole(x):
        filled = np.zeros((sizes.max(), *x.shape[1:]), x.dtype)
        filled[: len(x)] = x
        found = multihost_utils.process_allgather(filled).reshape(-1, *filled.shape)[::alike]
        rows = [part[:n] for part, n in zip(found, sizes, strict=True)]
        return np.concatenate(rows).astype(x.dtype)

    return jax.tree.map(whole, batch)


def gather_rows(tree):
    distribution = keras.distribution.distribution()
    if distribution is None or distribution.num_processes == 1:
        return tree

    def whole(x):
        layout = keras.distribution.TensorLayout([None] * x.ndim, distribution.device_mesh)
        return distribute_tensor(x, layout)

    return jax.tree.map(whole, tree)


def to_numpy(x):
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)


def in_words(error):
    processes = jax.process_count()
    if processes == 1 or not isinstance(error, jax.errors.JaxRuntimeError):
        return error
    if not any(sign in str(error) for sign in LOST):
        return error
    return RuntimeError(
        f"Process {jax.process_index()} of {processes} has lost another one, which ended. Start all of "
        "them again: after `load_weights` of the folder of a keras.callbacks.OrbaxCheckpoint training "
        f"goes on where the last checkpoint was. Cause: {error}"
    )


def check_backup():
    if jax.process_count() > 1:
        raise ValueError(
            f"BackupAndResume is for one process of JAX, and these are {jax.process_count()}: have "
            "keras.callbacks.OrbaxCheckpoint write what they hold, and `load_weights` read its folder."
        )


def check_whole(variables):
    if all(v.value.is_fully_addressable or v.value.is_fully_replicated for v in variables):
        return
    raise ValueError(
        f"The weights are divided among {jax.process_count()} processes, none of which can save all: "
        "have keras.callbacks.OrbaxCheckpoint write them. In a single process `load_weights` reads its "
        "folder, and `save` saves."
    )
