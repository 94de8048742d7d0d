"""Checkpoints of Keras: what they declare is compared with their size before Keras reads them."""

import contextlib
import io
import json
import os

import h5py

from keras_dmmd.weight_files.archive import Archive
from keras_dmmd.weight_files.weight_file import EXPANSION, ROOM, DamagedFile, short

WEIGHTS = "model.weights.h5"  # in a `.keras` file


def check_declared(path):
    """Raise a `DamagedFile` where a checkpoint declares more than its size allows, or is none.

    HDF5 unpacks an array as a whole, so that a few bytes can stand for gigabytes; and names in it can
    lead to other files.

    Args:
        path: of a `.weights.h5`, of a `.weights.json` with its shards, of a `.keras`, or the folder
            that such a file can be.
    """
    try:
        with contextlib.ExitStack() as closing:
            for file, size in _files(path, closing):
                _check(file, size)
    except DamagedFile:
        raise
    except Exception as error:  # of h5py, zip, zlib, JSON
        raise DamagedFile(
            f"The weights file {path!r} is truncated or damaged: {short(error)}"
        ) from error


def _files(path, closing):
    """The HDF5 files of a checkpoint, each with the bytes that it takes."""
    if os.path.isdir(path):
        path = os.path.join(path, WEIGHTS)
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            names = _names(json.load(file)["weight_map"])
        for name in sorted(names):
            if os.path.basename(name) != name:
                raise ValueError(f"it names {name[:100]!r}, which is no file beside it")
            yield from _files(os.path.join(os.path.dirname(path), name), closing)
    elif path.endswith(".keras"):
        content = Archive(path, closing).read(WEIGHTS)
        yield closing.enter_context(h5py.File(io.BytesIO(content), "r")), len(content)
    elif path.endswith(".h5"):  # Keras names the others that it does not read
        yield closing.enter_context(h5py.File(path, "r")), os.path.getsize(path)


def _names(value):
    """All strings in what JSON may hold at the place of files."""
    if isinstance(value, dict):
        value = list(value.values())
    return {value} if isinstance(value, str) else {name for part in value for name in _names(part)}


def _check(file, size):
    """Raise a `ValueError` where arrays of an HDF5 file are larger than it, or elsewhere."""
    links, arrays = [], []
    file.visititems_links(
        lambda name, item: None if isinstance(item, h5py.HardLink) else links.append(name)
    )
    if links:
        raise ValueError(f"{links[0]!r} is a link, and no array")
    file.visititems(lambda name, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
    for array in arrays:
        if array.external or array.is_virtual:
            raise ValueError(f"{array.name!r} lies in another file")
    declared = sum(array.nbytes for array in arrays)
    if declared > EXPANSION * size + ROOM:
        raise ValueError(f"its arrays declare {declared:,} bytes in {size:,}")
