"""Files that are written beside their place and then moved there, and folders of one process."""

import contextlib
import os
import shutil
import socket

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def replacing(*paths):
    """A context that yields a path to write for each path, and moves them there if all went well.

    What is written has the name of its place, in a folder of its own beside it; other files that are
    written there, such as the shards of a file of weights, are moved along. Nothing is left after an
    error, and what a killed process left is removed by the next one.

    Args:
        *paths: of files, or of folders that are written as a whole; the folders above them are made.

    Yields:
        One path, or a list of as many as were given.
    """
    paths = [os.path.abspath(path) for path in paths]
    partial = []
    try:
        for path in paths:
            folder, name = os.path.split(path)
            os.makedirs(folder, exist_ok=True)
            _remove_leftovers(folder, name)
            partial.append(os.path.join(folder, f".{os.getpid()}.partial.{name}"))
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
        shutil.rmtree(path)
    os.replace(source, path)


def _remove_leftovers(folder, name):
    """Remove what processes that are no more left beside a file."""
    for entry in os.listdir(folder):
        owner, _, rest = entry[1:].partition(".partial.")
        if entry.startswith(".") and rest == name and owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(os.path.join(folder, entry), ignore_errors=True)


def _is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return True


class Lock:
    """A folder that belongs to this process, until `release` or until the process is no more.

    Args:
        folder: it is made.

    Raises:
        OSError: another process has it, or it cannot be written.
    """

    _held = {}  # by path: who runs a notebook's cell again goes on with the lock of its last run

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(os.path.realpath(folder), ".lock")
        if self.path not in self._held:
            self._held[self.path] = self._open(folder)

    def _open(self, folder):
        while True:
            file = open(self.path, "a+")
            if not _try_lock(file):
                file.seek(0)
                owner = file.read() or "unknown"
                file.close()
                raise OSError(
                    f"{folder!r} is in use by another process ({owner}): two runs must not share a "
                    "folder. Wait for its end, or choose another one."
                )
            # It may have been removed by its last owner meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self.path), os.fstat(file.fileno())):
                    break
            file.close()
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        return file

    def release(self):
        file = self._held.pop(self.path, None)
        if file is not None:
            with contextlib.suppress(OSError):
                os.remove(self.path)
            file.close()


def _try_lock(file):
    """Lock an open file for this process, if no other has; whether that went well."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True
