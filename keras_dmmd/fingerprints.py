"""Short hashes by which a file remembers what it was made with."""

import functools
import hashlib
import types

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
    """An argument as text that no other one has: of arrays, whose `repr` is cut, a hash.

    Sets are sorted: the order of their `repr` is another one in every process.
    """
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {value_text(own)}' for key, own in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(value_text, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({', '.join(sorted(map(value_text, value)))})"
    if isinstance(value, np.ndarray):
        return array_hash(value)
    if ops.is_tensor(value):
        return array_hash(backend.to_numpy(value))
    return repr(value)


def weights_hash(model):
    """A short hash of a model's weights."""
    return array_hash(*(backend.to_numpy(v.value) for v in model.weights))


def config_hash(value):
    """A short hash of the class of an object and of its config, if it has one."""
    config = getattr(value, "get_config", dict)()
    return text_hash(f"{type(value).__name__} {value_text(config)}")


def code_hash(function):
    """A short hash of a function's instructions, constants and defaults, wherever it stands.

    Of a `functools.partial` that of the function and of what it is given, of another object that can be
    called its class and the code of its `__call__`: not of what it holds.
    """
    return text_hash(_code_text(function))


def _code_text(value):
    """A function, or what belongs to one, as text."""
    value = getattr(value, "__func__", value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_code_text, value))})"
    if isinstance(value, types.CodeType):
        return f"{value.co_code!r} {value.co_names} {_code_text(value.co_consts)}"
    if isinstance(value, functools.partial):
        return _code_text((value.func, value.args, *value.keywords.items()))
    if isinstance(value, types.FunctionType):
        defaults = value.__defaults__, *(value.__kwdefaults__ or {}).items()
        return _code_text((value.__code__, defaults, getattr(value, "__wrapped__", None)))
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        call = getattr(type(value).__call__, "__code__", None)
        own = getattr(value, "__wrapped__", None)  # of `functools.cache`, `jax.jit`
        return f"{named.__module__}.{named.__qualname__} {_code_text((call, own))}"
    return value_text(value)
