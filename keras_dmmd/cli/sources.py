"""What lies at the path of DATA, and how it is read: the same for what trains and what uses a model."""

import contextlib
import itertools
import os
import zipfile

import numpy as np

from keras_dmmd import checks, datasets
from keras_dmmd.datasets.locations import files_below
from keras_dmmd.datasets.pictures import image_files
from keras_dmmd.datasets.records import read_table

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
DATA = (
    "DATA is a file of text, .smi, .fasta, .csv, .tsv or .npy, or a folder of .txt files or of images."
)
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


def kind_of(path, said=None):
    """The kind of data, a key of `KINDS`: by the ending of a file, by what a folder holds.

    Args:
        said: the kind that is looked for in a folder of several, or `None`.

    Raises:
        ValueError: a folder holds two kinds and nothing is said, or none; or a file is of none.
    """
    if os.path.isdir(path):
        texts, images = len(files_below(path, (".txt",))), len(image_files(path))
        if texts and images:
            if said in ("text", "images"):
                return said
            raise ValueError(
                f"The folder {path!r} holds both texts and images, {texts} .txt file(s) and {images} "
                "image(s): give one that holds what is to be read alone, or an option for texts or "
                "for images."
            )
        if not texts and not images:
            raise ValueError(f"There are no .txt files and no images in the folder {path!r}. {DATA}")
        return "images" if images else "text"
    kind = ENDINGS.get(os.path.splitext(path)[1].lower(), "text")
    if kind != "ids" and os.path.isfile(path):
        with open(path, "rb") as file:
            beginning = file.read(4096)
        if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ValueError(f"The file {path!r} is UTF-16: save it as UTF-8.")
        if b"\0" in beginning:
            raise ValueError(f"The file {path!r} is no text. {DATA}")
    return kind


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


def reading(args, known=None, said=None):
    """How `args.data` is read, a dict for a card.

    Args:
        known: how the data of a model's training were, from `remembered`: that holds where the command
            line says nothing and data are of the same kind.
        said: what a folder of texts and images is read as where no option here says it, or `None`.

    Raises:
        ValueError: an option is for data of another kind.
    """
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
    asked = (kind for kind, (_, options) in KINDS.items() if any(given[name] for name in options))
    kind = kind_of(args.data, next(asked, said))
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
    """The texts of a file in which each is an example, and the names of their classes, or `None`.

    Which column of a table they are is said, and from then on stands in `how`, for the model's card.
    """
    if how["kind"] == "table":
        with options_named({"`column`": "--column", "`label`": "--label-column"}):
            texts, names, column = read_table(path, how["column"], how["label_column"])
        if how["column"] is None:
            print(f"The texts are the column {column!r} of {path}.")
        how["column"] = column
        without = [text for text, name in zip(texts, names or (), strict=False) if not name.strip()]
        if without:
            raise ValueError(
                f"{len(without)} rows with a text in {path!r} have no class in the column "
                f"{how['label_column']!r}, the first of them that of {checks.shown(without[0])}: give "
                "them one, or leave them out."
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
    return tokenizer.encode_batch(list(itertools.compress(texts, fits)), length), fits


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
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {path!r}.") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} must hold one array.")
    return found
