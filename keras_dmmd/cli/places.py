"""Where a command writes: what must not be overwritten, and what a failure leaves."""

import contextlib
import functools
import os
import pathlib

from keras_dmmd.files import check_folder

# What tells that a folder has been written by one of the commands that make or judge models.
MODEL, CHECKPOINT, CARD = "config.json", "checkpoint", "card.json"


def tidy(command):
    """A command that removes the empty folders which it made for `--out`, where it fails."""

    @functools.wraps(command)
    def run(args):
        places = [args.out, vars(args).get("trajectory")]
        new = [folder for place in places if place for folder in _missing(os.path.abspath(place))]
        try:
            return command(args)
        except BaseException:
            for folder in new:
                with contextlib.suppress(OSError):  # it is not empty, or no folder, or was never made
                    os.rmdir(folder)
            raise

    return run


def _missing(path):
    """Of a path and the folders above it those that are not there, the deepest first."""
    while not os.path.lexists(path):
        yield path
        path = os.path.dirname(path)


def for_a_model(args):
    """Make the folder of `--out`, where a new model may be written or a run that goes on.

    Raises:
        ValueError: it holds a finished model or another command's files, or lies in the data.
        OSError: nothing can be written there.
    """
    begun = os.path.isdir(os.path.join(args.out, CHECKPOINT))
    if _holds(args.out, MODEL) and not begun:
        raise ValueError(
            f"{args.out!r} holds a finished model: take another --out, or remove that folder first."
        )
    if _holds(args.out, CARD) and not begun:
        raise ValueError(f"{args.out!r} holds what another command wrote: take another --out.")
    _check_apart(args)
    check_folder(args.out)


def for_a_report(args):
    """Make the folder of `--out`, where a report may be written or one that goes on.

    Raises:
        ValueError: it is that of a model, or lies in the data.
        OSError: nothing can be written there.
    """
    if _holds(args.out, MODEL) or _holds(args.out, CHECKPOINT):
        raise ValueError(
            f"{args.out!r} is the folder of a model, whose card a report would replace: take another "
            "--out."
        )
    _check_apart(args)
    check_folder(args.out)


def _holds(folder, name):
    return os.path.lexists(os.path.join(folder, name))


def _check_apart(args):
    """Refuse an `--out` in the folder of the data, which would become data of the next command."""
    if args.data is None or not os.path.isdir(args.data):
        return
    if pathlib.Path(args.out).resolve().is_relative_to(pathlib.Path(args.data).resolve()):
        raise ValueError(
            f"--out {args.out!r} lies in the folder of the data, {args.data!r}: what is written there "
            "would be read as data. Take another --out."
        )
