"""What a run has beside its model: plain attributes of callbacks, and global random streams."""

import random
import sys

import numpy as np

from keras_dmmd import backend
from keras_dmmd.fingerprints import value_text

# Of a callback: what Keras tells it of the run, and an argument whose sign it turns in every process.
UNKEPT = ("params", "min_delta")


def _is_plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biuf" or value.dtype.name == "bfloat16"
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def texts(attributes):
    """Those attributes of an object that are plain data, each as text that no other value has."""
    return {k: value_text(v) for k, v in attributes.items() if k not in UNKEPT and _is_plain(v)}


def pack(attributes, given, owner, arrays):
    """Those attributes of an object that are plain data and have changed, as JSON has them.

    Args:
        attributes: a dict.
        given: the `texts` of those that it began with.
        owner: the name of the object.
        arrays: a dict, to which arrays are added.
    """

    def packed(value):
        if isinstance(value, (np.ndarray, np.generic)):
            # HDF5 has no bfloat16; float32 holds the same numbers.
            dtype = "float32" if value.dtype.name == "bfloat16" else value.dtype
            arrays[f"{owner} {len(arrays)}"] = np.asarray(value, dtype)
            return {"array": f"{owner} {len(arrays) - 1}"}
        if isinstance(value, (list, tuple)):
            return {"list": [packed(v) for v in value]}
        if isinstance(value, dict):
            return {"dict": {k: packed(v) for k, v in value.items()}}
        return value

    changed = [name for name, text in texts(attributes).items() if given.get(name) != text]
    return {name: packed(attributes[name]) for name in changed}


def unpack(attributes, arrays):
    """What was packed."""

    def unpacked(value):
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "array":
            return arrays[content]
        if kind == "list":
            return [unpacked(v) for v in content]
        return {k: unpacked(v) for k, v in content.items()}

    return {name: unpacked(value) for name, value in attributes.items()}


def global_streams():
    """States of the global streams, by which data may be shuffled: Python's, numpy's, and Torch's.

    On Torch Keras's layers drop out by them too, on a GPU by that of the GPU.
    """
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    torch = sys.modules.get("torch")
    return {
        "python": [version, list(words), gauss],
        "numpy": [kind, keys.tolist(), *rest],
        "torch": None if torch is None else torch.get_rng_state().tolist(),
        "cuda": torch.cuda.get_rng_state().tolist() if _on_gpu(torch) else None,
    }


def _on_gpu(torch):
    return torch is not None and torch.cuda.is_initialized()


def own_streams(streams):
    """Of every process's streams those of this one; of one that was not there, those that it has."""
    if isinstance(streams, dict):  # files of before: those of the first process
        streams = [streams]
    number, _ = backend.process()
    return streams[number] if number < len(streams) else global_streams()


def set_global_streams(streams):
    """Give the global streams states that they had."""
    version, words, gauss = streams["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = streams["numpy"]
    np.random.set_state((kind, np.array(keys, "uint32"), *rest))
    torch = sys.modules.get("torch")
    if torch is not None and streams["torch"] is not None:
        torch.set_rng_state(torch.tensor(streams["torch"], dtype=torch.uint8))
    if _on_gpu(torch) and streams.get("cuda") is not None:
        torch.cuda.set_rng_state(torch.tensor(streams["cuda"], dtype=torch.uint8))
