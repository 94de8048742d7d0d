"""Files of JSON, and files that are written beside their place and then moved there."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import uuid

HOST = socket.gethostname()  # others may write in the same folder
_AT_WORK = set()  # names of folders in which this process writes, in any of its threads


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
    another one only where all that this and the folders in it hold has a successor of the same name.

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
            if os.path.lexists(path):  # or what was left may be all there is
                _remove_leftovers(folder, name)
            own = f".{os.getpid()}.{uuid.uuid4().hex[:8]}@{HOST}.partial.{name}"
            _AT_WORK.add(own)
            partial.append(os.path.join(folder, own))
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
            _AT_WORK.discard(os.path.basename(source))


def _move(source, path):
    old = f"{source}.old"  # goes with the folder in which the new one was written
    try:
        if os.path.isdir(source) and os.path.isdir(path):
            lost = sorted(_content(path) - _content(source))
            if lost:
                raise OSError(
                    f"The folder {path!r} holds other things, which would be lost: "
                    f"{', '.join(lost[:5])}."
                )
            os.replace(path, old)
        os.replace(source, path)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(path):
            os.replace(old, path)
        raise


def _content(folder):
    """What a folder and those below it hold, but for what is hidden, as paths from there."""
    found = set()
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [*folders, *(name for name in names if not name.startswith("."))]
        found |= {os.path.relpath(os.path.join(place, name), folder) for name in names}
    return found


def _remove_leftovers(folder, name):
    """Remove what processes of this machine that are no more left beside a file.

    One may have had the number of this one, as the first of a container that was started again.
    """
    for entry in os.listdir(folder):
        owner, _, rest = entry[1:].partition(".partial.")
        process, _, host = owner.partition("@")
        process = process.partition(".")[0]
        if not entry.startswith(".") or rest != name or host not in ("", HOST):
            continue
        if process == str(os.getpid()):
            is_left = entry not in _AT_WORK
        else:
            is_left = process.isdigit() and not _is_running(int(process))
        if is_left:
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
