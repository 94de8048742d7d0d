"""What lies at the path of DATA, and how it is read: the same for what trains and what uses a model."""

import contextlib
import os
import zipfile

import numpy as np

from keras_dmmd import checks, datasets
from keras_dmmd.datasets.pictures import image_files

ENDINGS = {
    ".npy": "ids",
    ".smi": "smiles",
    ".smiles": "smiles",
    ".fasta": "fasta",
    ".fa": "fasta",
    ".faa": "fasta",
    ".fna": "fasta",
    ".csv": "table",
    ".tsv": "table",
}
# Of each kind its name, and the options that say how it is read.
KINDS = {
    "text": ("text", ("separator", "whole")),
    "ids": ("a .npy file", ("labels",)),
    "smiles": ("a file of SMILES", ()),
    "fasta": ("FASTA", ()),
    "table": ("a table", ("column", "label_column")),
    "images": ("a folder of images", ("color",)),
}


@contextlib.contextmanager
def options_named(words):
    """A context whose `ValueError`s name options of the command in place of arguments of functions."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        for argument, option in words.items():
            message = message.replace(argument, option)
        raise ValueError(message) from error


def kind_of(path):
    """The kind of data, a key of `KINDS`: by the ending of a file, by what a folder holds."""
    if os.path.isdir(path):
        texts = any(name.endswith(".txt") for _, _, names in os.walk(path) for name in names)
        return "images" if not texts and image_files(path) else "text"
    return ENDINGS.get(os.path.splitext(path)[1].lower(), "text")


def remembered(card):
    """How the data of a model's training were read, by its card, which anybody may have written.

    Returns:
        A dict; it is empty where the card says nothing.

    Raises:
        ValueError: what it says is nothing that `keras-dmmd train` wrote.
    """
    found = card.get("reading", {})
    if isinstance(found, dict):
        classes = found.get("classes")
        texts = [found.get(name) for name in ("kind", "separator", "column", "label_column")]
        flags = [found.get(name, False) for name in ("whole", "color")]
        if (
            all(text is None or isinstance(text, str) for text in texts)
            and all(isinstance(flag, bool) for flag in flags)
            and (classes is None or (isinstance(classes, list) and all(map(_is_text, classes))))
        ):
            return found
    raise ValueError(f"The card of this model has an odd `reading`: {checks.shown(found)}")


def _is_text(value):
    return isinstance(value, str)


def reading(args, known=None):
    """How `args.data` is read, a dict for a card.

    Args:
        known: how the data of a model's training were, from `remembered`: that holds where the command
            line says nothing and data are of the same kind.

    Raises:
        ValueError: an option is for data of another kind.
    """
    kind = kind_of(args.data)
    if args.lines and (args.separator or args.whole):
        raise ValueError(r"--lines is --separator '\n' --whole: give one or the other.")
    given = {
        "separator": "\n" if args.lines else args.separator,
        "whole": args.lines or args.whole,
        "labels": args.labels,
        "column": args.column,
        "label_column": args.label_column,
        "color": args.color,
    }
    name, fitting = KINDS[kind]
    for option, value in given.items():
        if value and option not in fitting:
            owner = next(owner for owner, options in KINDS.values() if option in options)
            option = "lines" if args.lines else option.replace("_", "-")
            raise ValueError(f"--{option} is for {owner}, not for {name}, which {args.data!r} is.")
    found = {"kind": kind, **{option: given[option] for option in fitting if option != "labels"}}
    if known and known.get("kind") == kind:
        said = {option: value for option, value in found.items() if value}
        found = {**found, **known, **said}
    return found


def texts_of(path, how):
    """The texts of a file in which each is an example, and the names of their classes, or `None`."""
    if how["kind"] == "table":
        with options_named({"`column`": "--column", "`label`": "--label-column"}):
            texts, names = datasets.load_csv(path, how["column"], how["label_column"])
        without = [i for i, name in enumerate(names or (), 1) if not name.strip()]
        if without:
            raise ValueError(
                f"{len(without)} rows with a text in {path!r} have no class in the column "
                f"{how['label_column']!r}, the first of them is number {without[0]}: give them one, or "
                "leave them out."
            )
        return texts, names
    load = {"smiles": datasets.load_smiles, "fasta": datasets.load_fasta}[how["kind"]]
    return load(path), None


def encoded(texts, tokenizer, length, hint=""):
    """Texts as rows `(n, length)`, and which of them fit, bool `(len(texts),)`; the others are named.

    Args:
        hint: what to say where none fits.

    Raises:
        ValueError: none fits.
    """
    fits = np.array([len(tokenizer.encode(text)) <= length for text in texts], bool)
    left_out = len(texts) - int(fits.sum())
    if left_out == len(texts):
        raise ValueError(f"All {len(texts)} texts have more than {length} tokens{hint}: none fits.")
    if left_out:
        print(f"{left_out} of {len(texts)} texts have more than {length} tokens, and are left out.")
    kept = [text for text, fit in zip(texts, fits, strict=True) if fit]
    return tokenizer.encode_batch(kept, length), fits


def classes_of(names):
    """The classes that occur, in the order of their numbers, or of the alphabet."""
    found = set(names)
    numbers = all(name.isdecimal() for name in found)
    return sorted(found, key=lambda name: (int(name), name)) if numbers else sorted(found)


def numbered(names, classes):
    """Names of classes as their numbers, int32 `(n,)`.

    Raises:
        ValueError: a name is no class of the model.
    """
    numbers = {name: i for i, name in enumerate(classes)}
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise ValueError(f"{unknown[:20]} are none of the model's classes, {classes[:20]}.")
    return np.array([numbers[name] for name in names], "int32")


def array(path):
    """The one array of a .npy file."""
    try:
        found = np.load(path)
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} must hold one array.")
    return found
