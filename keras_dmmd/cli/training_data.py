"""From DATA to what a new model is trained on: rows, a tokenizer or a grid, classes."""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np

from keras_dmmd import checks, datasets, tokenizers
from keras_dmmd.cli import inputs, sources

TEXT_LENGTH = 128  # of rows of running text
LONGEST = 256  # of rows of one text each, where nobody says
MOST_WORDS = 2**24  # of a vocabulary: more are no tokens
HELD_OUT = "that are held out (--held-out {:g}; 0 is none)"
TOKENIZERS = ("characters", "bytes", "bpe", "smiles")

# What each option is for.
FOR = {
    "--tokenizer": "texts",
    "--vocabulary": "--tokenizer bpe",
    "--end-token": "--tokenizer tokenizer.json",
    "--length": "texts",
    "--image-size": "a folder of images",
    "--levels": "a folder of images",
}


@dataclasses.dataclass
class TrainingData:
    """Rows for training, and those that are held out.

    Attributes:
        rows, held_out: ids `(n, length)`; the second may be empty.
        labels, held_out_labels: classes `(n,)`, or `None`.
        vocabulary_size: K.
        num_classes: of them, or `None`.
        tokenizer: of texts, else `None`.
        grid: of images, else `None`.
        reading: how other data for this model are read, a dict for its card.
    """

    rows: np.ndarray
    held_out: np.ndarray
    labels: Any
    held_out_labels: Any
    vocabulary_size: int
    num_classes: Any
    tokenizer: Any
    grid: Any
    reading: dict


def read(args):
    """The `TrainingData` of a command line.

    Raises:
        ValueError: data are not what they should be, or options do not fit them.
        OSError: there are none.
    """
    how = sources.reading(args, said=_said(args))
    checks.number("--held-out", args.held_out, below=1.0)
    if args.length is not None:
        checks.count("--length", args.length)
    kind, _ = sources.KINDS[how["kind"]]
    own = args.tokenizer not in (None, *TOKENIZERS)
    are_texts, are_images = how["kind"] not in ("ids", "images"), how["kind"] == "images"
    for option, given, fitting in (
        ("--tokenizer", args.tokenizer, are_texts),
        ("--vocabulary", args.vocabulary, args.tokenizer == "bpe"),
        ("--end-token", args.end_token, own),
        ("--length", args.length, are_texts),
        ("--image-size", args.image_size, are_images),
        ("--levels", args.levels, are_images),
    ):
        if given is not None and not fitting:
            raise ValueError(f"{option} is for {FOR[option]}, not for {kind} as it is read here.")
    if how["kind"] == "text":
        return _text(args, how)
    if are_images:
        return _images(args, how)
    return _ids(args, how) if how["kind"] == "ids" else _records(args, how)


def _said(args):
    """The kind of data that options ask for which `sources.reading` does not know."""
    if args.image_size or args.levels:
        return "images"
    return "text" if args.tokenizer or args.vocabulary or args.end_token or args.length else None


def _text(args, how):
    """Running text, packed; documents are held out, or their ends."""
    parts = datasets.load_text(args.data, args.held_out, seed=args.seed, separator=how["separator"])
    tokenizer = _tokenizer(args, how, parts)
    length = _whole_blocks(args.length or TEXT_LENGTH, args)
    rows, held_out = (
        _packed(part, tokenizer, length, how["whole"], what)
        for part, what in zip(parts, ("to learn from", HELD_OUT.format(args.held_out)), strict=True)
    )
    size = tokenizer.vocabulary_size
    return TrainingData(rows, held_out, None, None, size, None, tokenizer, None, how)


def _packed(part, tokenizer, length, whole, what):
    """Rows of some texts, none where there are none."""
    if not part:
        return np.zeros((0, length), "int32")
    words = {"`documents` have": f"The texts {what} have", "`length`=": "--length "}
    with sources.options_named(words):
        return datasets.pack(part, tokenizer, length, whole=whole)


def _records(args, how):
    """Texts of which each has a row of its own."""
    texts, names = sources.texts_of(args.data, how)
    tokenizer = _tokenizer(args, how, (texts, []))
    length = args.length or min(LONGEST, max(len(tokenizer.encode(text)) for text in texts))
    hint = "" if args.length else ", the most of a row unless you give --length"
    rows, fits = sources.encoded(texts, tokenizer, _whole_blocks(length, args), hint)
    labels = None
    if names is not None:
        kept = list(itertools.compress(names, fits))
        how["classes"] = sources.classes_of(kept)
        left_out = sources.classes_of(set(names) - set(kept))
        if left_out:
            print(f"No text of the classes {left_out[:20]} fits: the model will not have them.")
        labels = sources.numbered(kept, how["classes"])
    return _divided(args, how, rows, labels, tokenizer=tokenizer)


def _ids(args, how):
    rows = sources.array(args.data)
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or not rows.size:
        raise ValueError(
            f"{args.data} must be integers of shape (n, length), not empty. "
            f"Received: shape {rows.shape} of {rows.dtype}"
        )
    rows = _from_zero(args.data, rows, "ids")
    labels = None
    if args.labels:
        labels = _from_zero(args.labels, sources.array(args.labels), "classes")
        labels = inputs.labels_of(args.labels, len(rows), int(labels.max(initial=0)) + 1)
    return _divided(args, how, rows, labels)


def _from_zero(path, values, what):
    """Integers that number tokens or classes, int32.

    Raises:
        ValueError: some are negative, or so large that they are no such numbers.
    """
    if values.dtype.kind not in "iu":
        raise ValueError(f"{path} must be {what}, integers. Received: {values.dtype}")
    if not values.size:
        return values
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= MOST_WORDS:
        raise ValueError(
            f"{path} must be {what}, numbered from 0, at most {MOST_WORDS - 1:,}. Received: "
            f"{len(np.unique(values)):,} different values from {low:,} to {high:,}"
        )
    return values.astype("int32")


def _images(args, how):
    with sources.options_named({"`size`, (rows, columns),": "--image-size, such as 28x28,"}):
        found = datasets.load_images(
            args.data, size=args.image_size, levels=args.levels or 16, color=how["color"]
        )
    how["classes"] = found.classes
    return _divided(args, how, found.tokens, found.labels, grid=found.grid, size=args.levels or 16)


def _divided(args, how, rows, labels, tokenizer=None, grid=None, size=None):
    """Rows in two, equal ones on the same side."""
    if size is None:
        size = int(rows.max()) + 1 if tokenizer is None else tokenizer.vocabulary_size
    held = np.zeros(len(rows), bool)
    if args.held_out:
        held = datasets.split_rows(rows, args.held_out, args.seed)
        if held.all() or not held.any():
            different = len(np.unique(rows, axis=0))
            raise ValueError(
                f"{len(rows)} rows, {different} of them different, are too few to hold out "
                f"{args.held_out:.0%}: give more, or another --held-out; 0 is none."
            )
    sides = (None, None) if labels is None else (labels[~held], labels[held])
    num_classes = None if labels is None else int(labels.max()) + 1
    return TrainingData(rows[~held], rows[held], *sides, size, num_classes, tokenizer, grid, how)


def _tokenizer(args, how, parts):
    """What `--tokenizer` names, learned from the texts where it is learned: not from held-out ones, but
    for the symbols themselves, without which those could not be read."""
    name = args.tokenizer or ("smiles" if how["kind"] == "smiles" else "characters")
    train, held_out = parts
    if name == "characters":
        return tokenizers.CharacterTokenizer(sorted(set().union(*train, *held_out)), end=True)
    if name == "smiles":
        return tokenizers.SmilesTokenizer.learn([*train, *held_out])
    if name == "bytes":
        return tokenizers.ByteTokenizer()
    if name == "bpe":
        return tokenizers.BytePairTokenizer.train(train, args.vocabulary or 2048)
    if not os.path.isfile(name):
        raise ValueError(
            f"--tokenizer must be {', '.join(TOKENIZERS)}, or the path of a tokenizer.json. "
            f"Received: {name!r}"
        )
    options = {} if args.end_token is None else {"end": args.end_token}
    with sources.options_named({"`end=`": "--end-token"}):
        return tokenizers.BytePairTokenizer.from_file(name, **options)


def _whole_blocks(length, args):
    """A length, or the next one that blocks divide."""
    size = checks.count("--blocks", args.blocks) if args.blocks is not None else 1
    return -(-length // size) * size
