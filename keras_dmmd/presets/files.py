"""Trained models as folders: `config.json`, `weights.npz`, `card.json`."""

import functools
import json
import os

import keras
import numpy as np
from keras import ops

from keras_dmmd import checks
from keras_dmmd.files import read_json, replacing
from keras_dmmd.presets import handles
from keras_dmmd.presets.config import model_of, portable, read_config
from keras_dmmd.weight_files import NpzFile, made_from

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
        dtype: of the stored weights. Half precision halves the file; weights load as float32.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {checks.shown(model)}")
    folder = checks.path("folder", folder)
    checks.choice("dtype", dtype, ("float16", "float32", "float64"))
    try:
        json.dumps(card)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`card` must be a dict for JSON: {error}") from error
    arrays = {
        name: ops.convert_to_numpy(ops.cast(v, "float32")).astype(dtype)
        for name, v in zip(_names(model), model.weights, strict=True)
    }
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"Weights that are not finite in {dtype}: {broken}")
    config = portable(keras.saving.serialize_keras_object(model))
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

    Raises:
        ValueError: there is no such preset, its config describes no model, or its weights are those of
            another one. Names and shapes are compared before memory is taken for them.
        OSError: a file is missing, damaged or cannot be read.
    """
    folder = _folder(preset)
    path = os.path.join(folder, "config.json")
    if not os.path.exists(path):
        raise ValueError(
            f"`preset` must be a folder, a handle or one of {names()}. Received: {preset!r}"
        )
    with NpzFile(os.path.join(folder, "weights.npz")) as weights:
        config = read_config(path, weights)
        return made_from(lambda: model_of(config, path), lambda model: _values(model, weights), path)


def _values(model, weights):
    """Of every weight of a model the variable, and a function that reads it from the file.

    Raises:
        ValueError: names or shapes differ.
    """
    names = _names(model)
    strange = sorted({*weights.names} ^ {*names})
    if strange:
        raise ValueError(
            f"The weights in {weights.path!r} do not belong to the model in its config.json: "
            f"{len(weights.names)} for {len(names)}, and only one of them has {strange[0][:200]!r}."
        )
    weights.check_size(names)
    for name, variable in zip(names, model.weights, strict=True):
        if weights.shape(name) != tuple(variable.shape):
            raise ValueError(
                f"The weights in {weights.path!r} do not belong to the model in its config.json: "
                f"{name!r} has shape {weights.shape(name)}, and not {tuple(variable.shape)}."
            )
    reads = [functools.partial(weights.read_finite, name) for name in names]
    return list(zip(model.weights, reads, strict=True))


def read_card(preset):
    """The card of a preset: how it was trained and what was measured, a dict."""
    path = os.path.join(_folder(preset), "card.json")
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no card at preset={checks.shown(preset)}.")
    return read_json(path)


def _folder(preset):
    if handles.is_handle(preset):
        return handles.download(preset)
    preset = checks.path("preset", preset)
    return preset if os.path.isdir(preset) else os.path.join(FOLDER, preset)


def _names(model):
    """Of every weight its number and its path without the model's own name, which counts up."""
    return [f"{i:03d} {v.path.split('/', 1)[-1]}" for i, v in enumerate(model.weights)]
