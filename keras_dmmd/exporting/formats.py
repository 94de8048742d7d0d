"""Which file formats there are, and who writes them."""

import os

from keras_dmmd import checks
from keras_dmmd.backend.writers import BACKENDS, WRITERS
from keras_dmmd.files import check_file

# How a path of each ends; a SavedModel is a folder.
SUFFIXES = {
    "onnx": ".onnx",
    "torch": ".pt2",
    "stablehlo": ".stablehlo",
    "litert": ".tflite",
    "saved_model": "",
}
# What a SavedModel has at its top.
SAVED_MODEL = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}
# Whose writers make integers of weights; of others the model itself holds them.
WITH_INTEGERS = ("onnx", "litert")


def format_of(path, asked):
    """The format, by its name or by how the path ends.

    Raises:
        ValueError: there is no such format, the path ends as that of another one, or this backend
            does not write it.
    """
    suffix = os.path.splitext(path)[1]
    by_suffix = {ending: name for name, ending in SUFFIXES.items()}
    if asked is None:
        asked = by_suffix.get(suffix)
        if asked is None:
            raise ValueError(
                "`path` must end in .onnx, .pt2, .stablehlo or .tflite, or have no ending, for the "
                f"folder of a SavedModel; else give `format`. Received: path={checks.shown(path)}"
            )
    checks.choice("format", asked, SUFFIXES)
    if by_suffix.get(suffix, asked) != asked and suffix:
        raise ValueError(
            f"`path` ends as a file of format {by_suffix[suffix]!r} does. "
            f"Received: path={checks.shown(path)}, format={asked!r}"
        )
    if asked not in WRITERS:
        others = " or ".join(BACKENDS[asked])
        raise ValueError(
            f"The format {asked!r} is written on the backend {others}, that is, with "
            f"KERAS_BACKEND={BACKENDS[asked][0]}: models go there as files. Here one can write "
            f"{' and '.join(map(repr, WRITERS))}."
        )
    return asked


def check_place(path, format):
    """See that a file, or the folder of a SavedModel, can be written later, and that nothing is lost.

    Raises:
        OSError: it cannot; it says where and why.
        ValueError: a folder is there that `export` has not written.
    """
    path = os.path.normpath(path)
    check_file(path + ".json")
    if format != "saved_model":
        check_file(path)
        return
    if os.path.isfile(path):
        raise ValueError(f"{path!r} is a file, not a place for the folder of a SavedModel.")
    there = os.listdir(path) if os.path.isdir(path) else ()
    there = {name for name in there if not name.startswith(".")}
    ours = "saved_model.pb" in there and there <= SAVED_MODEL and os.path.exists(path + ".json")
    if there and not ours:
        raise ValueError(
            f"The folder {path!r} is not empty and no SavedModel of `export`: what it holds would be "
            "lost. Take another path."
        )
