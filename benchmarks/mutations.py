"""Files that are changed at random: bytes, JSON, the sizes that they declare, what they hold.

Each function takes a random generator of numpy and gives the new content and a few words on what was
done.
"""

import base64
import io
import json
import logging
import marshal
import os
import shutil
import zipfile

import numpy as np

ODD = [
    *(None, True, False, 0, -1, 1.5, 1e308, float("nan"), float("inf")),
    *(10**9, 10**12, 10**30, -(10**12)),
    *("", "x", "../../etc/passwd", "9" * 400, "\x00", [], {}, [1], [[]], {"a": 1}),
]  # fmt: skip
# Types of numpy that are no numbers, or larger ones.
DTYPES = ["|O", "<f8", "<c16", "|V4", "<U100000", "<M8[s]", ">f4", "nonsense", [("a", "<f4")], 5]


class Canary:
    """An object whose pickle leaves a file or a folder behind where somebody calls what it names."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def canaries(path):
    """Objects that make `path` if their pickles are executed."""
    return [
        Canary(os.mkdir, path),
        Canary(os.system, f"touch {path}"),
        Canary(open, path, "w"),
        Canary(logging.FileHandler, path),
        Canary(shutil.copyfile, __file__, path),
        Canary(eval, f"open({path!r}, 'w')"),
    ]


def choose(rng, options):
    """One of a list, whatever it holds."""
    return options[rng.integers(len(options))]


# Bytes --------------------------------------------------------------------------------------------


def change_bytes(rng, content):
    """Bits flipped, a part left out, doubled or overwritten, or an end that is missing."""
    content = bytearray(content)
    start, length = int(rng.integers(len(content) + 1)), int(2 ** rng.uniform(0, 12))
    way = choose(rng, ["bits", "bits", "end", "out", "twice", "zeros", "noise", "start"])
    if way == "bits":
        for at in rng.integers(len(content), size=rng.integers(1, 9)) if content else ():
            content[at] ^= 1 << int(rng.integers(8))
    elif way == "start":  # where formats keep their sizes
        for at in rng.integers(min(len(content), 128), size=2) if content else ():
            content[at] = int(rng.integers(256))
    elif way == "end":
        del content[start:]
    elif way == "out":
        del content[start : start + length]
    elif way == "twice":
        content[start:start] = content[start : start + length]
    else:
        new = bytes(length) if way == "zeros" else rng.bytes(length)
        content[start : start + length] = new
    return bytes(content), f"bytes: {way} at {start}"


# JSON ---------------------------------------------------------------------------------------------


def places(tree, path=()):
    """The path of every entry of a tree of JSON."""
    items = (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def change_tree(rng, tree):
    """One entry of a tree of JSON with another value or type, left out, renamed, or more of them."""
    tree = json.loads(json.dumps(tree))
    found = list(places(tree))
    if not found:
        return choose(rng, ODD), "another tree"
    path = choose(rng, found)
    part, key = tree, path[-1]
    for step in path[:-1]:
        part = part[step]
    value = part[key]
    way = choose(rng, ["odd", "odd", "odd", "number", "out", "name", "more", "deep", "other", "root"])
    if way == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        part[key] = choose(
            rng, [-value, value + 1, 2 * value, value * 10**6, value * 10**12, value / 3]
        )
    elif way == "out":
        del part[key]
    elif way == "name" and isinstance(part, dict):
        part[f"{key}_"] = part.pop(key)
    elif way == "more" and isinstance(part, dict):
        part[choose(rng, ["more", "registered_name", "build_config", "compile_config"])] = choose(
            rng, ODD
        )
    elif way == "more":
        part.extend([value] * int(rng.integers(1, 100)))
    elif way == "deep":
        for _ in range(int(2 ** rng.uniform(1, 9))):
            value = [value]
        part[key] = value
    elif way == "other":
        other = tree
        for step in choose(rng, found):
            other = other[step]
        part[key] = json.loads(json.dumps(other))
    elif way == "root":
        return choose(rng, [*ODD, value, [tree], {"config": tree}]), "another root"
    else:
        part[key] = choose(rng, ODD)
    return tree, f"{way} at {'.'.join(map(str, path))[:80]}"


def change_json(rng, content, canary):
    """A text of JSON: an entry of its tree, its bytes, or something in it that could be executed."""
    way = choose(rng, ["tree"] * 6 + ["bytes", "harm"])
    if way == "bytes":
        return change_bytes(rng, content)
    if way == "tree":
        tree, what = change_tree(rng, json.loads(content))
        return json.dumps(tree).encode(), f"JSON: {what}"
    tree = json.loads(content)
    path = choose(rng, [path for path in places(tree) if isinstance(path[-1], str)])
    part = tree
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = choose(rng, harmful_configs(canary))
    return json.dumps(tree).encode(), f"JSON: harm at {'.'.join(map(str, path))[:80]}"


def harmful_configs(path):
    """Configs that make `path` if Keras does what they say."""
    function = compile(f"open({path!r}, 'w')", "harm", "eval")
    code = {"value": base64.b64encode(marshal.dumps(function)).decode(), "defaults": None}
    value = {"class_name": "__lambda__", "config": {**code, "closure": None}, "module": "builtins"}
    named = {"class_name": "function", "registered_name": None}
    return [
        value,
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": value}},
        {**named, "module": "os", "config": "mkdir"},
        {"module": "os", "class_name": "mkdir", "config": {"path": path}},
        {
            "module": "keras.utils",
            "class_name": "get_file",
            "config": {"fname": path, "origin": "file:///"},
        },
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": path}},
        {"module": "logging", "class_name": "FileHandler", "config": {"filename": path}},
        {"module": "keras_dmmd.cli", "class_name": "main", "config": {"argv": ["info"]}},
    ]


# Arrays and archives ------------------------------------------------------------------------------


def change_npy(rng, content, canary):
    """An array of numpy: its header, its bytes, other values, or pickled objects in its place."""
    array = np.load(io.BytesIO(content))
    way = choose(rng, ["header", "header", "bytes", "values", "pickle", "zeros"])
    if way == "bytes":
        return change_bytes(rng, content)
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    if way == "header":
        field = choose(rng, list(header))
        shapes = [
            (10**9,),
            (10**6, 10**6),
            (-1,),
            (),
            (0, 10**12),
            array.shape[::-1],
            (*array.shape, 1),
        ]
        header[field] = choose(rng, {"descr": DTYPES, "shape": shapes}.get(field, [True, None, 5]))
        way = f"{field} {header[field]}"
    elif way == "pickle":
        array = np.array([choose(rng, canaries(canary))], object)
    elif way == "zeros":
        array = np.zeros(2**24, array.dtype)
    else:
        array = array.astype("float64") * choose(rng, [1e300, np.nan, 0.0, -1.0])
    file = io.BytesIO()
    if array.dtype.hasobject or not way.startswith(("descr", "shape", "fortran")):
        np.save(file, array)
    else:
        try:
            np.lib.format.write_array_header_1_0(file, header)
        except Exception:  # numpy will not write some of them, but strangers may
            text = repr(header).encode() + b"\n"
            file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        file.write(array.tobytes())
    return file.getvalue(), f"array: {way}"


def change_zip(rng, content, change_member):
    """A zip archive with a member changed, out, renamed or more, and with checksums that fit."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = choose(rng, list(members))
    way = choose(rng, ["member"] * 6 + ["out", "name", "more"])
    what = f"{way} {name}"
    if way == "member":
        members[name], what = change_member(rng, name, members[name])
    elif way == "out":
        del members[name]
    elif way == "name":
        members[choose(rng, ["../x", "/x", "x" * 1000, f"{name}x", "ü.npy"])] = members.pop(name)
    else:
        members[choose(rng, ["more.npy", "x/y", "../more"])] = members[name]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", choose(rng, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue(), f"zip: {what}"


def change_safetensors(rng, content):
    """A `.safetensors` file: an entry of its header, or its bytes."""
    if rng.random() < 0.3:
        return change_bytes(rng, content)
    size = int.from_bytes(content[:8], "little")
    tree, what = change_tree(rng, json.loads(content[8 : 8 + size]))
    header = json.dumps(tree).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :], f"header: {what}"


def change_h5(rng, path):
    """A file of HDF5, in its place: a dataset with another shape or type, out, linked, or of 8 GB."""
    import h5py

    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        name = choose(rng, names)
        values = file[name][()]
        way = choose(rng, ["shape", "8 GB", "zeros", "type", "out", "link", "outside", "nan", "group"])
        del file[name]
        if way == "shape":
            file[name] = np.zeros([2 * size + 1 for size in np.shape(values)], "float32")
        elif way == "8 GB":
            file.create_dataset(name, (2**31,), "float32", chunks=(2**16,), fillvalue=1.0)
        elif way == "zeros":
            file.create_dataset(name, data=np.zeros(2**24, "float32"), compression="gzip")
        elif way == "type":
            file[name] = choose(rng, ["text", [b"bytes"], np.zeros(np.shape(values), "complex64"), 5])
        elif way == "link":
            file[name] = h5py.SoftLink(choose(rng, ["/", "/nowhere", f"/{name}"]))
        elif way == "outside":
            file[name] = h5py.ExternalLink("/etc/hostname", "/")
        elif way == "nan":
            file[name] = np.full(np.shape(values), np.nan, "float32")
        elif way == "group":
            file.create_group(name)
    return f"HDF5: {way} at {name}"
