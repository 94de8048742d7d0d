"""Models and data of the command line, from whatever they are named by."""

import itertools
import os
import zipfile

import keras

from keras_dmmd import checks, datasets, presets
from keras_dmmd.cli import sources
from keras_dmmd.datasets.text import read_text
from keras_dmmd.distillation import Distiller
from keras_dmmd.optional import package
from keras_dmmd.sampling import Gap
from keras_dmmd.training import DiffusionModel
from keras_dmmd.weight_files import check_declared, short

# What a file may name and nothing has imported.
HUB = "keras_dmmd.models.hub", "keras_dmmd.models.diffusion_gemma"


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
        begun = os.path.isdir(os.path.join(path, "checkpoint"))
        if begun and not os.path.exists(os.path.join(path, "config.json")):
            raise ValueError(
                f"The run in {path!r} was interrupted and has made no model yet: the command that "
                "began it goes on from its checkpoint."
            )
        with sources.options_named({"`preset`": "MODEL"}):
            return presets.from_preset(path)
    config = _keras_config(path)
    for module in HUB:
        if module in config:
            package(module, f"The model in {path!r}", "keras-hub")
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


def card(path):
    """What a preset says of itself; nothing where nobody wrote a card."""
    try:
        return {} if is_keras(path) else presets.read_card(path)
    except FileNotFoundError:
        return {}


def label(name, model, known):
    """The number of a class, from `--label`: its name in the data of training, or its number.

    Where names are numbers themselves it is a name: one thing said means one class.

    Args:
        model: of which it is a class.
        known: its card.

    Raises:
        ValueError: it is none of its classes.
    """
    if name is None:
        return None
    size = model.capabilities.num_classes
    if not size:
        raise ValueError("This model has no classes: it takes no --label.")
    classes = (sources.remembered(known).get("classes") or [])[:size]
    if name in classes:
        return classes.index(name)
    named = any(map(str.isdecimal, classes))
    if named or not name.isdecimal() or int(name) >= size:
        numbers = [] if named else [f"a number from 0 to {size - 1}"]
        names = [f"one of {classes[:20]}"] if classes else []
        raise ValueError(f"--label must be {', or '.join(numbers + names)}. Received: {name!r}")
    return int(name)


def check_seed(args):
    """Raise a `ValueError` where `--seed` is none that `keras.utils.set_random_seed` takes."""
    checks.count("--seed", args.seed, least=0, most=2**32 - 1)


def rows(args, model, known=None):
    """Ids `(n, length)` of `--data`, and their classes `(n,)`, or `None`.

    Args:
        known: the model's card, which may say how the data of its training were read.
    """
    said = "text" if model.capabilities.grid is None else "images"
    how = sources.reading(args, sources.remembered(known or {}), said)
    if how["kind"] == "ids":
        return _ids(args, model)
    if how["kind"] == "images":
        return _images(args.data, model, how)
    if model.tokenizer is None:
        raise ValueError(f"This model has no tokenizer: {args.data} must be {_fitting(model)}.")
    words = {
        "`text` has": f"{args.data} is not like what this model learned from: it has",
        "`documents` have": f"The texts of {args.data} have",
        "`length`=": "the model, ",
    }
    if how["kind"] == "text":
        texts, _ = datasets.load_text(args.data, held_out=0, separator=how["separator"])
        with sources.options_named(words):
            return datasets.pack(texts, model.tokenizer, model.length, whole=how["whole"]), None
    texts, names = sources.texts_of(args.data, how)
    with sources.options_named(words):
        tokens, fits = sources.encoded(texts, model.tokenizer, model.length)
    if names is None or not _takes_labels(model, args.label_column, "--label-column"):
        return tokens, None
    if not how.get("classes"):
        raise ValueError("The card of this model does not say what its classes are called.")
    return tokens, sources.numbered(list(itertools.compress(names, fits)), how["classes"])


def _fitting(model):
    """What the data of a model may be, in words."""
    if model.capabilities.grid is not None:
        return "a folder of images or a .npy file of ids"
    return "a .npy file of ids" if model.tokenizer is None else "text, or a .npy file of ids"


def _ids(args, model):
    tokens = sources.array(args.data)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.shape[1] != model.length:
        raise ValueError(
            f"{args.data} must be integers, ids of shape (n, {model.length}). "
            f"Received: shape {tokens.shape} of {tokens.dtype}"
        )
    tokens = checks.ids(args.data, tokens, model.process.vocabulary_size).astype("int32")
    if not args.labels or not _takes_labels(model, args.labels, "--labels"):
        return tokens, None
    return tokens, labels_of(args.labels, len(tokens), model.capabilities.num_classes)


def labels_of(path, n, num_classes):
    """The classes in a .npy file, int32 `(n,)`."""
    labels = checks.ids(path, sources.array(path), num_classes, ndim=1)
    if len(labels) != n:
        raise ValueError(f"{path} has {len(labels)} labels for {n} rows.")
    return labels.astype("int32")


def _takes_labels(model, asked, option):
    """Whether a model has classes; where it has none, it must not have been asked to take them."""
    if asked and not model.capabilities.num_classes:
        raise ValueError(f"This model takes no {option}: it has no classes.")
    return bool(model.capabilities.num_classes)


def _images(folder, model, how):
    if model.capabilities.grid is None:
        raise ValueError(f"This model makes no images: {folder} must be {_fitting(model)}.")
    rows, columns = model.capabilities.grid
    images = datasets.load_images(
        folder,
        size=(rows, columns // (3 if how["color"] else 1)),
        levels=model.process.vocabulary_size,
        color=how["color"],
        classes=how.get("classes"),
    )
    return images.tokens, images.labels if model.capabilities.num_classes else None


def prompts(args, model, samples):
    """How many samples there are, and what `DiffusionModel.generate` takes as their prompts, or `None`.

    One prompt of `--prompt` and `--gap` for all, or those of the file `--prompts`, each `-n` times.
    They are ids, so that what comes back are ids.

    Args:
        samples: how many, where nobody says and there is no file.
    """
    each = 1 if args.prompts is not None else samples
    n = each if args.n is None else checks.count("-n", args.n)
    if args.prompt is None and args.prompts is None:
        return n, None
    if model.tokenizer is None:
        raise ValueError(f"{args.model} has no tokenizer: it takes no --prompt.")
    encode = model.tokenizer.encode
    if args.prompts is None:
        parts = [Gap(part) if isinstance(part, int) else encode(part) for part in args.prompt]
        return n, [parts]
    if args.prompt is not None:
        raise ValueError("--prompts is a file of whole prompts: leave out --prompt and --gap.")
    lines = [line for line in read_text(args.prompts).split("\n") if line]
    if not lines:
        raise ValueError(f"The file {args.prompts!r} has no prompt: each is a line.")
    found = [encode(line) for line in lines for _ in range(n)]
    return len(found), found
