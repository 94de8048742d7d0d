"""Models and data of the command line, from whatever they are named by."""

import os
import zipfile

import keras
import numpy as np

from keras_dmmd import checks, datasets, presets
from keras_dmmd.distillation import Distiller
from keras_dmmd.optional import package
from keras_dmmd.sampling import Gap
from keras_dmmd.training import DiffusionModel
from keras_dmmd.weight_files import check_declared, short

HUB = "keras_dmmd.models.hub"  # what a file may name and nothing has imported


def load(path):
    """The model of a preset, a handle, or what `model.save` wrote; of a distiller its student.

    Raises:
        OSError: a file is missing or damaged.
        ValueError: it holds no model.
    """
    if not is_keras(path):
        if os.path.isfile(path):
            raise ValueError(
                f"{path!r} is no model: MODEL is a preset, its folder, or a .keras file that "
                "model.save wrote. A file of weights alone does not say what they are weights of."
            )
        return presets.from_preset(path)
    if HUB in _keras_config(path):
        package(HUB, f"The model in {path!r}", "keras-hub")
    check_declared(path)
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever Keras's loader says of a part of it
        raise ValueError(f"{path!r} holds no model that can be loaded: {short(error)}") from error
    return model.student if isinstance(model, Distiller) else model


def is_keras(path):
    """Whether this names what `model.save` wrote, a file or a folder."""
    return path.endswith(".keras") or os.path.exists(os.path.join(path, "model.weights.h5"))


def _keras_config(path):
    """The config of what `model.save` wrote, as text."""
    if os.path.isdir(path):
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            return file.read()
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file {path!r}.")
    try:
        with zipfile.ZipFile(path) as file:
            return file.read("config.json").decode()
    except (zipfile.BadZipFile, KeyError) as error:
        raise OSError(
            f"The file {path!r} is damaged, or model.save did not write it: {error}"
        ) from error


def sampler(path):
    """A `DiffusionModel`: a preset may also be a reference, which only judges.

    Raises:
        ValueError: it is another model.
    """
    model = load(path)
    if not isinstance(model, DiffusionModel):
        raise ValueError(f"{path} is a {type(model).__name__}, which writes no samples.")
    return model


def rows(args, model):
    """Ids `(n, length)` of `--data`, and the classes of `--labels`, `(n,)`, or `None`."""
    if not args.data.endswith(".npy"):
        if args.labels:
            raise ValueError("--labels are those of the rows of a .npy file of ids.")
        return _texts(args, model), None
    if args.separator or args.lines or args.whole:
        raise ValueError("--separator, --whole and --lines are for texts, not for a .npy file.")
    tokens = _array(args.data)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.shape[1] != model.length:
        raise ValueError(
            f"{args.data} must be ids of shape (n, {model.length}). "
            f"Received: shape {tokens.shape} of {tokens.dtype}"
        )
    tokens = checks.ids(args.data, tokens, model.process.vocabulary_size).astype("int32")
    if not args.labels:
        return tokens, None
    if not model.capabilities.num_classes:
        raise ValueError("This model takes no --labels: it has no classes.")
    labels = checks.ids(args.labels, _array(args.labels), model.capabilities.num_classes, ndim=1)
    if len(labels) != len(tokens):
        raise ValueError(f"{args.labels} has {len(labels)} labels for {len(tokens)} rows.")
    return tokens, labels.astype("int32")


def _texts(args, model):
    if model.tokenizer is None:
        raise ValueError(f"This model has no tokenizer: {args.data} must be a .npy file of ids.")
    if args.lines and (args.separator or args.whole):
        raise ValueError(r"--lines is --separator '\n' --whole: give one or the other.")
    separator = "\n" if args.lines else args.separator
    texts, _ = datasets.load_text(args.data, held_out=0, separator=separator)
    return datasets.pack(texts, model.tokenizer, model.length, whole=args.lines or args.whole)


def _array(path):
    array = np.load(path)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} must hold one array.")
    return array


def prompts(parts, model, path):
    """What `generate` takes of the texts and gaps of `--prompt` and `--gap`: one prompt, or `None`."""
    if parts is None:
        return None
    if model.tokenizer is None:
        raise ValueError(f"{path} has no tokenizer: it takes no --prompt.")
    # As ids, so that what comes back are ids.
    return [[Gap(part) if isinstance(part, int) else model.tokenizer.encode(part) for part in parts]]
