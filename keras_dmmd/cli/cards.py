"""What stands beside all that a command writes: how it was made, so that it can be made again."""

import os

from keras_dmmd.evaluation.machine import machine
from keras_dmmd.files import write_json
from keras_dmmd.fingerprints import array_hash

# Of a command line, what is no setting: what to do, where to, and the line itself.
NO_SETTINGS = ("run", "command", "out", "line")


def settings(args):
    """What a command was told or takes by default, a dict."""
    return {name: value for name, value in vars(args).items() if name not in NO_SETTINGS}


def digest(*arrays):
    """A short hash of the rows that a run learned from; what is `None` counts for nothing."""
    return [array_hash(array) for array in arrays if array is not None and len(array)]


def data(args, rows, *more):
    """What was learned from, or compared with: its path, number of rows and hash.

    Args:
        rows: ids `(n, length)`.
        *more: labels, rows that were held out, or `None`.
    """
    return {"path": args.data, "rows": len(rows), "digest": digest(rows, *more)}


def made_by(args, **facts):
    """A card: the command, facts, those that are `None` left out, and the machine."""
    return {
        "command": args.line,
        **{name: fact for name, fact in facts.items() if fact is not None},
        "machine": machine(),
    }


def write_beside(path, card):
    """Write the card of a file, or of a folder that is one thing: `path + ".card.json"`."""
    write_json(path + ".card.json", card)


def write_into(folder, card):
    """Write the card of a folder's files, as presets have theirs: `card.json`."""
    write_json(os.path.join(folder, "card.json"), card)
