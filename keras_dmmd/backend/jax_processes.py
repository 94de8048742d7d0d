"""Several processes of JAX: one program runs on the devices of all, and each feeds its rows to it."""

import contextlib

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils
from keras.src.backend.jax.distribution_lib import distribute_tensor
from keras.src.distribution import distribution_lib

from keras_dmmd.backend.jax_devices import parts, split_rows
from keras_dmmd.backend.meetings import Meetings, is_loss


def _alone():
    distribution = keras.distribution.distribution()
    return distribution is None or distribution.num_processes == 1


def is_first():
    return _alone() or jax.process_index() == 0


def reads_whole():
    if _alone():
        return False
    return keras.distribution.distribution().auto_shard_dataset or data_part()[1] == 1


def data_part():
    if _alone():
        return 0, 1
    distribution = keras.distribution.distribution()
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


def _gathered(x, **options):
    """What all processes have; one that is lost is said in words."""
    try:
        return multihost_utils.process_allgather(x, **options)
    except jax.errors.JaxRuntimeError as error:
        plain = in_words(error)
        if plain is error:
            raise
        raise plain from error


_meetings = Meetings(_gathered, _alone, is_first)
gather_integers, gather_objects = _meetings.integers, _meetings.objects
from_first, agreed, telling = _meetings.from_first, _meetings.agreed, _meetings.telling


def whole_if_uneven(batch, sizes):
    if (sizes == sizes[0]).all() and sizes.sum() % parts() == 0:
        return None
    alike = jax.process_count() // len(sizes)  # processes that have the same rows

    def whole(x):
        filled = np.zeros((sizes.max(), *x.shape[1:]), x.dtype)
        filled[: len(x)] = x
        found = _gathered(filled).reshape(-1, *filled.shape)[::alike]
        rows = [part[:n] for part, n in zip(found, sizes, strict=True)]
        return np.concatenate(rows).astype(x.dtype)

    return jax.tree.map(whole, batch)


def gather_rows(tree):
    if _alone():
        return tree
    distribution = keras.distribution.distribution()

    def whole(x):
        layout = keras.distribution.TensorLayout([None] * x.ndim, distribution.device_mesh)
        return distribute_tensor(x, layout)

    return jax.tree.map(whole, tree)


def to_numpy(x):
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return _gathered(x, tiled=True)


def in_words(error):
    processes = jax.process_count()
    if processes == 1 or not isinstance(error, jax.errors.JaxRuntimeError):
        return error
    if not is_loss(error):
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


@contextlib.contextmanager
def whole(variables):
    spread = [v for v in variables if not v.value.is_fully_addressable]
    divided = [(v, v._value) for v in spread if not v.value.is_fully_replicated]
    writes = not spread or jax.process_index() == 0
    try:
        for variable, value in divided:  # one by one, to the memory of the first process's host
            found = _gathered(value, tiled=True)
            if writes:
                variable._value = found
        # Keras makes variables as it saves, which over several processes none makes alone.
        with undivided():
            yield writes
    finally:
        for variable, value in divided:
            variable._value = value


def predictor(model, batch_size):
    @jax.jit
    def pure(values, x):
        with keras.StatelessScope(state_mapping=zip(model.variables, values, strict=True)):
            return model(x, training=False)

    def predict(x):
        if keras.distribution.distribution() is None:
            return model.predict(x, batch_size=batch_size, verbose=0)
        # Keras would fail where devices do not divide the rows, and return no whole of processes.
        size, found = min(batch_size, -(-len(x) // parts()) * parts()), []
        for start in range(0, len(x), size):
            rows = split_rows(x[np.minimum(start + np.arange(size), len(x) - 1)])
            found.append(to_numpy(pure([v.value for v in model.variables], rows)))
        return np.concatenate(found)[: len(x)]

    return predict
