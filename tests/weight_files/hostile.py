"""Files that are damaged, or made to do harm, as strangers may send them."""

import io
import json
import os
import pathlib
import pickle
import tracemalloc
import zipfile

import numpy as np

PROTOCOL = 2


class Trips:
    """An object whose pickle makes a folder where somebody loads it as Python does."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


class Settings:
    """An object of a class that no reader has."""


def peak(function):
    """The most bytes that Python and numpy held while a function ran, and what came of it."""
    tracemalloc.start()
    try:
        result = function()
    except Exception as error:
        result = error
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most, result


def npy(array, **changes):
    """An array as a `.npy` member; `changes` are of its header: descr, fortran_order, shape."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **changes}
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + array.tobytes()


def write_npz(path, members):
    """A `.npz` of members, bytes by their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def rewrite(path, members):
    """A zip archive with other content in the place of some members; `None` leaves one out."""
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**old, **members}.items():
            if content is not None:
                archive.writestr(name, content)


class Pickler(pickle._Pickler):
    """Writes what Torch writes, without Torch: see `named`, `call` and `tensor`."""

    CALL, GLOBAL = object(), object()

    def persistent_id(self, obj):
        if isinstance(obj, tuple) and obj and obj[0] == "storage":
            return obj
        return None

    def save(self, obj, **kwargs):
        if isinstance(obj, tuple) and obj and obj[0] is self.GLOBAL:
            self.write(b"c" + obj[1].encode() + b"\n" + obj[2].encode() + b"\n")
        elif isinstance(obj, tuple) and obj and obj[0] is self.CALL:
            self.save(obj[1])
            self.save(obj[2])
            self.write(pickle.REDUCE)
        else:
            super().save(obj, **kwargs)


def named(module, name):
    return (Pickler.GLOBAL, module, name)


def call(function, *arguments):
    return (Pickler.CALL, function, arguments)


def tensor(key, shape, strides, offset=0, kind="FloatStorage", count=None):
    """A tensor as `torch.save` describes it."""
    count = int(np.prod(shape)) if count is None else count
    storage = ("storage", named("torch", kind), key, "cpu", count)
    hooks = call(named("collections", "OrderedDict"))
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, storage, offset, tuple(shape), tuple(strides), False, hooks)


def pickled(content):
    file = io.BytesIO()
    Pickler(file, PROTOCOL).dump(content)
    return file.getvalue()


def write_ckpt(path, content, storages):
    """A file as `torch.save` makes it, of a pickled object and of storages, arrays by their keys."""
    root = pathlib.Path(path).stem
    pickle_bytes = content if isinstance(content, bytes) else pickled(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", pickle_bytes)
        archive.writestr(f"{root}/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"{root}/data/{key}", array.tobytes())


def write_safetensors(path, arrays):
    """A `.safetensors` file: arrays by their names, or `(dtype, shape, bytes)`."""
    header, data = {}, b""
    for name, array in arrays.items():
        kind, shape, content = (
            array if isinstance(array, tuple) else ("F32", array.shape, array.astype("<f4").tobytes())
        )
        header[name] = {
            "dtype": kind,
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)
