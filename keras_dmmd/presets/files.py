"""Trained models as folders: `config.json`, `weights.npz`, `card.json`."""

import importlib
import importlib.util
import json
import os
import zipfile
from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

from keras_dmmd.files import replacing
from keras_dmmd.models.changes import thawed
from keras_dmmd.presets import handles

FOLDER = os.path.dirname(__file__)


def names():
    """The presets that ship with the package."""
    return sorted(
        name for name in os.listdir(FOLDER) if os.path.exists(os.path.join(FOLDER, name, "config.json"))
    )


def save_to_preset(model, folder, card=None, dtype="float16"):
    """Write a model as a preset.

    Args:
        model: a built `keras_dmmd.DiffusionModel`, or another registered Keras model.
        folder: where to; created, its files replaced.
        card: a dict of facts about the model: how it was trained, what was measured.
        dtype: of the stored weights. Half precision halves the file; weights load as float32. Integers
            stay what they are, and their scales float32.
    """
    arrays = {f"{i:03d} {_path(model, v)}": _array(v, dtype) for i, v in enumerate(model.weights)}
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"Weights that are not finite in {dtype}: {broken}")
    config = _portable(keras.saving.serialize_keras_object(model))
    if not model.trainable_variables and "changes" in config["config"]:
        # The state of a teacher whose weights others share.
        config["config"]["changes"] = thawed(config["config"]["changes"])
    paths = [os.path.join(folder, name) for name in ("weights.npz", "config.json", "card.json")]
    with replacing(*paths) as (weights, *texts):
        np.savez_compressed(weights, **arrays)
        for path, content in zip(texts, (config, card or {}), strict=True):
            with open(path, "w") as file:
                json.dump(content, file, indent=1)
                file.write("\n")


def from_preset(preset):
    """Load a preset.

    Args:
        preset: the name of one that ships with the package, the path of a folder that
            `save_to_preset` wrote, or a handle of `upload_to_hub`.

    Returns:
        The model under the current dtype policy, not compiled: a built `keras_dmmd.DiffusionModel`
        unless it is a reference or image features.
    """
    folder = _folder(preset)
    if not os.path.exists(os.path.join(folder, "config.json")):
        raise ValueError(
            f"`preset` must be a folder, a handle or one of {names()}. Received: {preset!r}"
        )
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    _import_parts(config)
    model = keras.saving.deserialize_keras_object(config)
    path = os.path.join(folder, "weights.npz")
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in sorted(file.files)}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise OSError(f"The preset's weights {path!r} are missing or damaged: {error}") from error
    expected = [f"{i:03d} {_path(model, v)}" for i, v in enumerate(model.weights)]
    if list(map(_place, arrays)) != list(map(_place, expected)):
        raise ValueError(f"The weights in {path!r} do not belong to the model in its config.json.")
    for variable, array in zip(model.weights, arrays.values(), strict=True):
        variable.assign(array if array.dtype.kind in "iu" else array.astype("float32"))
    return model


def read_card(preset):
    """The card of a preset: how it was trained and what was measured, a dict."""
    with open(os.path.join(_folder(preset), "card.json")) as file:
        return json.load(file)


def _import_parts(config):
    """Import the modules of this library that a config names: that of KerasHub waits for it."""
    if isinstance(config, dict):
        module = str(config.get("module"))
        # A class is found by its registered name, wherever its module has moved since.
        if module.startswith("keras_dmmd.") and importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
        config = config.values()
    if not isinstance(config, str) and isinstance(config, Iterable):
        for part in config:
            _import_parts(part)


def _folder(preset):
    if handles.is_handle(preset):
        return handles.download(preset)
    return preset if os.path.isdir(preset) else os.path.join(FOLDER, preset)


def _path(model, variable):
    """A weight's path without the model's own name, which counts up within a process."""
    return variable.path.split("/", 1)[-1]


def _place(name):
    """The number and last name of a stored weight: of one that was added later Keras has no path."""
    return name.split(" ", 1)[0], name.rsplit("/", 1)[-1].rsplit(" ", 1)[-1]


def _array(variable, dtype):
    """A weight as it is stored."""
    if "int" in variable.dtype:
        return ops.convert_to_numpy(variable)
    array = ops.convert_to_numpy(ops.cast(variable, "float32"))
    # The scale of integers is the inverse of weights, and may be too large for half precision.
    return array if variable.path.endswith("_scale") else array.astype(dtype)


def _portable(config):
    """Drop what belongs to a process: dtype policies, for which a preset takes those in force where it
    is loaded, and the identities of shared objects. What is frozen stands under `changes`."""
    if isinstance(config, dict):
        dropped = ("dtype", "trainable", "shared_object_id", "compile_config")
        portable = {k: _portable(v) for k, v in config.items() if k not in dropped}
        return portable | ({"changes": config["changes"]} if "changes" in config else {})
    if isinstance(config, list):
        return [_portable(v) for v in config]
    return config
