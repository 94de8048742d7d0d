"""Folders that belong to one process."""

import contextlib
import os
import socket

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


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
