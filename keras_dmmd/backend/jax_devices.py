"""The devices of a `keras.distribution`: rows are divided among them, and one program sees them all."""

import contextlib

import jax
import keras
from keras.src.backend.jax.distribution_lib import distribute_tensor
from keras.src.distribution import distribution_lib


def parts():
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]


def split_rows(tree):
    number, distribution = parts(), keras.distribution.distribution()

    def split(x):
        if not x.ndim or x.shape[0] % number:
            return x
        return distribute_tensor(x, distribution.get_data_layout(x.shape))

    return tree if number == 1 else jax.tree.map(split, tree)


def on_these_devices():
    if keras.distribution.distribution() is not None:
        return contextlib.nullcontext()
    # Without one Keras has Orbax look for the devices that a checkpoint was written on.
    return keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:1]).scope()


def kept_value(variable):
    return variable.value  # which nothing changes, and which may be spread over processes


# Keras divides every batch among the devices, and fails where they do not divide it. Such a batch, the
# last one as a rule, is left to JAX, which gives it to each device whole: while Keras takes that batch,
# it does not see that there are several.

_hidden = []


def hide_devices(batches, rows):
    for batch in batches:
        if rows() % parts():
            _hidden.append(keras.distribution.distribution())
            distribution_lib.set_distribution(None)
        try:
            yield batch
        finally:
            show_devices()


def show_devices():
    while _hidden:
        distribution_lib.set_distribution(_hidden.pop())


class _Shown:
    """An iterator after each of whose batches Keras sees all devices again."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.batches)
        finally:
            show_devices()


class TakesAnyBatch:
    """Mixin of a Keras model: batches that devices do not divide."""

    def _with_shown(self, name, force):
        made = getattr(self, name)
        getattr(super(), f"make_{name}")(force)
        function = getattr(self, name)
        if function is not made and function is not None:
            setattr(self, name, lambda state, batches: function(state, _Shown(batches)))

    def make_train_function(self, force=False):
        self._with_shown("train_function", force)

    def make_test_function(self, force=False):
        self._with_shown("test_function", force)

    def make_predict_function(self, force=False):
        self._with_shown("predict_function", force)
