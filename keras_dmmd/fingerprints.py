"""Short hashes by which a file remembers what it was made with."""

import hashlib

import numpy as np
from keras import ops

from keras_dmmd import backend


def array_hash(*arrays):
    """A short hash of arrays: of their dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def text_hash(text):
    """A short hash of a string."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def value_text(value):
    """An argument as text that no other one has: of arrays, whose `repr` is cut, a hash."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {value_text(own)}' for key, own in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(value_text, value))})"
    if isinstance(value, np.ndarray):
        return array_hash(value)
    if ops.is_tensor(value):
        return array_hash(backend.to_numpy(value))
    return repr(value)


def weights_hash(model):
    """A short hash of a model's weights."""
    return array_hash(*(backend.to_numpy(v.value) for v in model.weights))


def code_hash(function):
    """A short hash of a function's instructions and constants, wherever it stands."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None:
        return type(function).__name__

    def text(code):
        constants = (text(c) if hasattr(c, "co_code") else repr(c) for c in code.co_consts)
        return f"{code.co_code!r} {code.co_names} {' '.join(constants)}"

    return text_hash(text(code))
