"""Files of JSON, and files that are written beside their place and then moved there."""

import contextlib
import json
import os
import shutil
import socket
import tempfile

HOST = socket.gethostname()  # others may write in the same folder


def read_json(path):
    """The object in a file of JSON, a dict.

    Raises:
        ValueError: the file is no JSON, or holds another thing.
        OSError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The file {os.fspath(path)!r} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"The file {os.fspath(path)!r} must hold a JSON object. It holds: {type(content).__name__}"
        )
    return content


def write_json(path, content):
    """Write a file of JSON, whole or not at all."""
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)


@contextlib.contextmanager
def replacing(*paths):
    """A context that yields a path to write for each path, and moves them there if all went well.

    What is written has the name of its place, in a folder of its own beside it; other files that are
    written there, such as the shards of a file of weights, are moved along. Nothing is left after an
    error, and what a killed process left is removed by the next one. A folder takes the place of
    another one only where all that this holds has a successor of the same name.

    Args:
        *paths: of files, or of folders that are written as a whole; the folders above them are made.

    Yields:
        One path, or a list of as many as were given.

    Raises:
        OSError: something cannot be written, or a folder is in the way that holds other things.
    """
    paths = [os.path.abspath(path) for path in paths]
    partial = []
    try:
        for path in paths:
            folder, name = os.path.split(path)
            os.makedirs(folder, exist_ok=True)
            _remove_leftovers(folder, name)
            partial.append(os.path.join(folder, f".{os.getpid()}@{HOST}.partial.{name}"))
            os.makedirs(partial[-1])
        own = [os.path.join(p, os.path.basename(path)) for p, path in zip(partial, paths, strict=True)]
        yield own[0] if len(own) == 1 else own
        for source, path in zip(partial, paths, strict=True):
            folder, name = os.path.split(path)
            for entry in sorted(os.listdir(source), key=lambda entry: entry == name):  # it comes last
                _move(os.path.join(source, entry), os.path.join(folder, entry))
    finally:
        for source in partial:
            shutil.rmtree(source, ignore_errors=True)


def _move(source, path):
    if os.path.isdir(source) and os.path.isdir(path):
        there = [name for name in os.listdir(path) if not name.startswith(".")]
        lost = sorted(set(there) - set(os.listdir(source)))
        if lost:
            raise OSError(
                f"The folder {path!r} holds other things, which would be lost: {', '.join(lost[:5])}."
            )
        shutil.rmtree(path)
    os.replace(source, path)


def _remove_leftovers(folder, name):
    """Remove what processes of this machine that are no more left beside a file."""
    for entry in os.listdir(folder):
        owner, _, rest = entry[1:].partition(".partial.")
        process, _, host = owner.partition("@")
        if not entry.startswith(".") or rest != name or host not in ("", HOST):
            continue
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(os.path.join(folder, entry), ignore_errors=True)


def _is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return True


def check_folder(folder):
    """Make a folder, and see that files can be written in it: before the work that they will hold.

    Raises:
        OSError: they cannot; it says where and why.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial"):
            pass
    except OSError as error:
        raise OSError(f"Nothing can be written in the folder {os.fspath(folder)!r}: {error}") from error


def check_file(path):
    """See that a file can be written later; its folder is made.

    Raises:
        OSError: it cannot; it says where and why.
    """
    if os.path.isdir(path):
        raise OSError(f"{os.fspath(path)!r} is a folder, not a place for a file.")
    check_folder(os.path.dirname(os.path.abspath(path)))
