"""The configs of presets, as strangers may write them: what can be said before anything is made."""

import importlib
import importlib.util
import os

import keras

from keras_dmmd.files import read_json
from keras_dmmd.weight_files import short

# Larger numbers than these size nothing that is in use: network calls of a sample, tokens of a text.
MOST = 10**7
# Classes that Keras writes arrays as.
ARRAYS = ("__numpy__", "__tensor__")


def read_config(path, weights):
    """The config of a model, a dict, whose numbers can be those of its weights.

    Layers are made before their weights can be compared, so that a number in a config could make them
    for ever.

    Args:
        path: of the `config.json`.
        weights: the `keras_dmmd.weight_files.WeightFile` of the same model.

    Raises:
        ValueError: the file is no config, or names a size that no model with such weights has.
    """
    config = read_json(path)
    most = max(MOST, os.path.getsize(weights.path))
    # Every layer has a weight; a seed is no size.
    highest = {"num_layers": len(weights.names), "seed": float("inf")}
    parts = [(None, None, config)]  # of which part, under which key, what
    while parts:
        part = parts.pop()
        _, key, value = part
        if isinstance(value, (dict, list)):
            _check_array(value, path, part)
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            parts += [(part, inner_key, inner_value) for inner_key, inner_value in inner]
        elif isinstance(value, int) and abs(value) > highest.get(key, most):
            raise ValueError(
                f"{path!r}: {_place(part)} is {str(value)[:40]}, but in a model with "
                f"{len(weights.names)} arrays of weights it is at most {highest.get(key, most)}."
            )
    return config


def _check_array(value, path, part):
    """Raise a `ValueError` where an array in a config has a type that could be of any size."""
    if isinstance(value, dict) and value.get("class_name") in ARRAYS:
        inner = value.get("config")
        dtype = inner.get("dtype") if isinstance(inner, dict) else None
        if dtype not in ("bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"):
            raise ValueError(f"{path!r}: {_place(part)} is an array of {str(dtype)[:40]!r}.")


def _place(part):
    """Where a part of a config stands, as `config.denoiser.config.num_layers`."""
    keys = []
    while part[0] is not None:
        keys.append(str(part[1])[:40])
        part = part[0]
    return ".".join(keys[::-1])


def model_of(config, path):
    """The model that a config describes, built.

    Raises:
        ImportError: it needs a package that is not installed.
        ValueError: it describes none.
    """
    try:
        _import_parts(config)
        model = keras.saving.deserialize_keras_object(config)
    except ImportError:
        raise
    except Exception as error:  # whatever constructors say of arguments that they do not expect
        cause = error
        while isinstance(cause, TypeError) and cause.__context__ is not None:
            cause = cause.__context__  # Keras puts whole configs before what went wrong
        raise ValueError(
            f"{path!r} describes no model: {type(cause).__name__}: {short(cause)}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{path!r} describes no model, but: {type(model).__name__}")
    return model


def change(model, changes, path):
    """Do to a model's layers what its config says under `changes`: see `models/changes.py`.

    Raises:
        ValueError: they cannot be changed so.
    """
    if not isinstance(changes, dict) or not hasattr(model, "restore_changes"):
        raise ValueError(
            f"{path!r}: `changes` are a dict of what became of a DiffusionModel's layers, not "
            f"{short(changes)} of a {type(model).__name__}."
        )
    try:
        model.restore_changes(changes)
    except Exception as error:  # whatever Keras says of ranks and modes that it does not expect
        raise ValueError(f"{path!r}: `changes`: {type(error).__name__}: {short(error)}") from error


def portable(config):
    """Drop what belongs to a process: dtype policies, for which a preset takes those in force where it
    is loaded, and the identities of shared objects. What is frozen stands under `changes`.

    These are keys of serialised objects: elsewhere the same words are data of the user's.
    """
    if isinstance(config, list):
        return [portable(v) for v in config]
    if not isinstance(config, dict):
        return config
    found = {k: v if k == "changes" else portable(v) for k, v in config.items()}
    if "class_name" in config and isinstance(config.get("config"), dict):
        found = _without(found, ("shared_object_id", "compile_config"))
        if config["class_name"] not in ARRAYS:
            found["config"] = _without(found["config"], ("dtype", "trainable"))
    return found


def _without(config, names):
    return {k: v for k, v in config.items() if k not in names}


def _import_parts(config):
    """Import the modules of this library that a config names: that of KerasHub waits for it."""
    if isinstance(config, dict):
        module = config.get("module")
        if isinstance(module, str) and module.startswith("keras_dmmd.") and _is_there(module):
            importlib.import_module(module)
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            _import_parts(part)


def _is_there(module):
    """Whether there is a module. A class is found by its registered name, wherever its module moved."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # nor is the package above it
        return False
