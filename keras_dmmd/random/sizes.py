"""Sizes and shapes of draws, as they are given."""

import keras
from keras import ops

from keras_dmmd import backend, checks


def holds_integers(array):
    return "int" in keras.backend.standardize_dtype(array.dtype)


def size_of(name, value, least=0):
    """A size, which may be an integer tensor where it is not known yet: then it becomes int32."""
    if backend.is_symbolic(value):
        return value
    if ops.is_tensor(value) and not len(value.shape) and holds_integers(value):
        return ops.cast(value, "int32")
    return checks.count(name, value, least)


def shape_of(shape):
    sizes = checks.iterable("shape", shape, "sizes")
    return tuple(size_of("shape", size) for size in sizes)
