"""Facts beside the weights in one HDF5 file, and a seal that tells whether a bit of it has changed."""

import hashlib
import json
import zipfile

import h5py
import numpy as np

# The group of ours in a file of Keras's, which leaves groups alone that it does not know.
GROUP = "keras_dmmd"
# What damaged files make h5py raise.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile)


def seal(path, facts=None, arrays=None):
    """Write facts and arrays into a file of weights, and a digest of all that it holds.

    Args:
        path: of an HDF5 file.
        facts: what JSON can hold, or `None`.
        arrays: a dict of numpy arrays, or `None`.
    """
    with h5py.File(path, "r+") as file:
        group = file.create_group(GROUP)
        # A data set: attributes of HDF5 end at 64 KiB, which the logs of some hundred epochs fill.
        group.create_dataset("facts", data=np.frombuffer(json.dumps(facts or {}).encode(), "uint8"))
        for name, array in (arrays or {}).items():
            group.create_dataset(f"arrays/{name}", data=array)
        group.attrs["digest"] = np.void(_digest(file))


def open_seal(path):
    """The facts and arrays of a sealed file; nothing of a file without a seal.

    Raises:
        OSError: the file is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            if GROUP not in file:
                return {}, {}
            group = file[GROUP]
            if bytes(group.attrs["digest"]) != _digest(file):
                raise OSError("its contents do not agree with their digest")
            arrays = {name: data[()] for name, data in group.get("arrays", {}).items()}
            facts = group["facts"][()].tobytes() if "facts" in group else _facts_before(group)
            return json.loads(facts), arrays
    except DAMAGE as error:
        raise OSError(f"The file {str(path)!r} is truncated or damaged. Cause: {error}") from error


def _digest(file):
    """Of the names, types, shapes and values of all data sets, and of the attributes of ours."""
    digest = hashlib.blake2b(digest_size=16)

    def add(name, item):
        digest.update(name.encode())
        if isinstance(item, h5py.Dataset):
            digest.update(f"{item.dtype.str}{item.shape}".encode())
            digest.update(np.ascontiguousarray(item[()]).tobytes())

    file.visititems(add)
    digest.update(_facts_before(file[GROUP]))
    return digest.digest()


def _facts_before(group):
    """The facts of files that have them in an attribute; nothing of others."""
    return bytes(group.attrs["facts"]) if "facts" in group.attrs else b""
