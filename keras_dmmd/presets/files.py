"""Trained models as folders: `config.json`, `weights.npz`, `card.json`."""

import functools
import json
import math
import os

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.files import read_json, replacing
from keras_dmmd.models.changes import thawed
from keras_dmmd.presets import handles
from keras_dmmd.presets.config import change, model_of, portable, read_config
from keras_dmmd.weight_files import NpzFile, made_from

FOLDER = os.path.dirname(__file__)


def names():
    """The presets that ship with the package.

    Example:

    ```python
    kd.presets.names()  # ["digits_features", "digits_masked_student", ...]
    ```
    """
    return sorted(
        name for name in os.listdir(FOLDER) if os.path.exists(os.path.join(FOLDER, name, "config.json"))
    )


def save_to_preset(model, folder, card=None, dtype="float16"):
    """Write a model as a preset. Of several processes that train together the first writes.

    Args:
        model: a built `keras_dmmd.DiffusionModel`, or another registered Keras model.
        folder: where to; created, its files replaced.
        card: a dict of facts about the model: how it was trained, what was measured.
        dtype: of the stored weights. Half precision halves the file; weights load as float32. Integers
            stay what they are, and their scales float32.

    Example:

    ```python
    student = kd.from_preset("digits_masked_student")
    kd.presets.save_to_preset(student, "my_student", card={"license": "apache-2.0"})
    student = kd.from_preset("my_student")
    ```
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {checks.shown(model)}")
    folder = checks.path("folder", folder)
    checks.choice("dtype", dtype, ("float16", "float32", "float64"))
    try:
        json.dumps(card)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`card` must be a dict for JSON: {error}") from error
    with backend.whole(model.weights) as writes:
        if writes:
            _write(model, folder, card or {}, dtype)


def _write(model, folder, card, dtype):
    arrays = {name: _array(v, dtype) for name, v in zip(_names(model), model.weights, strict=True)}
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"Weights that are not finite in {dtype}: {broken}")
    config = portable(keras.saving.serialize_keras_object(model))
    if not model.trainable_variables and "changes" in config["config"]:
        # The state of a teacher whose weights others share.
        config["config"]["changes"] = thawed(config["config"]["changes"])
    paths = [os.path.join(folder, name) for name in ("weights.npz", "config.json", "card.json")]
    with replacing(*paths) as (weights, *texts):
        np.savez_compressed(weights, **arrays)
        for path, content in zip(texts, (config, card), strict=True):
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

    Example:

    ```python
    student = kd.from_preset("digits_masked_student")
    images = student.generate(16, steps=4, seed=0)  # (16, 64)
    ```
    """
    folder = _folder(preset)
    path = os.path.join(folder, "config.json")
    if not os.path.exists(path):
        if os.path.isdir(folder):
            raise ValueError(f"The folder {preset!r} holds no model: it has no config.json.")
        raise ValueError(
            f"`preset` must be a folder, a handle or one of {names()}. Received: {preset!r}"
        )
    with NpzFile(os.path.join(folder, "weights.npz")) as weights:
        config = read_config(path, weights)
        options = config.get("config")
        changes = options.pop("changes", None) if isinstance(options, dict) else None

        def changed(model):
            if changes is not None:
                _check_room(model, weights)
                change(model, changes, path)

        return made_from(
            lambda: model_of(config, path), lambda model: _values(model, weights), path, changed
        )


def _check_room(model, weights):
    """Raise a `ValueError` where a model is far larger than its file: quantising it takes memory."""
    held = sum(math.prod(weights.shape(name)) for name in weights.names)
    if model.count_params() > 2 * held:  # two integers of 4 bits fill a byte
        raise ValueError(
            f"The weights in {weights.path!r} do not belong to the model in its config.json: "
            f"{held:,} numbers for a model of {model.count_params():,}."
        )


def _values(model, weights):
    """Of every weight of a model the variable, and a function that reads it from the file.

    Raises:
        ValueError: names or shapes differ.
    """
    stored = {_place(name): name for name in weights.names}
    named = {_place(name): name for name in _names(model)}
    expected = dict(zip(named, model.weights, strict=True))
    strange = [(stored | named)[place] for place in sorted({*stored} ^ {*named})]
    if strange:
        raise ValueError(
            f"The weights in {weights.path!r} do not belong to the model in its config.json: "
            f"{len(weights.names)} for {len(expected)}, and only one of them has {strange[0][:200]!r}."
        )
    weights.check_size(weights.names)
    for place, variable in expected.items():
        if weights.shape(stored[place]) != tuple(variable.shape):
            raise ValueError(
                f"The weights in {weights.path!r} do not belong to the model in its config.json: "
                f"{stored[place]!r} has shape {weights.shape(stored[place])}, and not "
                f"{tuple(variable.shape)}."
            )
    return [
        (variable, functools.partial(weights.read_finite, stored[place]))
        for place, variable in expected.items()
    ]


def read_card(preset):
    """The card of a preset: how it was trained and what was measured, a dict.

    Example:

    ```python
    card = kd.presets.read_card("digits_masked_student")
    card["task"]  # "digits: student for 1 to 64 network calls"
    ```
    """
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


def _place(name):
    """The number and last name of a stored weight: of one that was added later Keras has no path."""
    return f"{name.split(' ', 1)[0]} {name.rsplit('/', 1)[-1].rsplit(' ', 1)[-1]}"


def _array(variable, dtype):
    """A weight as it is stored."""
    if "int" in variable.dtype:
        return ops.convert_to_numpy(variable)
    array = ops.convert_to_numpy(ops.cast(variable, "float32"))
    # The scale of integers is the inverse of weights, and may be too large for half precision.
    return array if variable.path.endswith("_scale") else array.astype(dtype)
