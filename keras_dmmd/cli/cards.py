"""What a folder says of how it was made, so that it can be made again."""

from keras_dmmd.evaluation.machine import machine
from keras_dmmd.fingerprints import array_hash


def digest(*arrays):
    """A short hash of the rows that a run learned from; what is `None` counts for nothing."""
    return [array_hash(array) for array in arrays if array is not None and len(array)]


def made_by(args, rows, *more, **facts):
    """A card: the command, the data by number and hash, the seed, facts, and the machine.

    Args:
        rows: what was learned from, ids `(n, length)`.
        *more: labels, rows that were held out, or `None`.
    """
    return {
        "command": args.line,
        "data": {"path": args.data, "rows": len(rows), "digest": digest(rows, *more)},
        "seed": args.seed,
        **{name: fact for name, fact in facts.items() if fact is not None},
        "machine": machine(),
    }
