"""Which file formats there are, and who writes them."""

import os

from keras_dmmd import checks
from keras_dmmd.backend.writers import BACKENDS, WRITERS

# How a path of each ends; a SavedModel is a folder.
SUFFIXES = {
    "onnx": ".onnx",
    "torch": ".pt2",
    "stablehlo": ".stablehlo",
    "litert": ".tflite",
    "saved_model": "",
}
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
