"""What processes that train together tell each other: numbers, objects, and errors of one of them.

A process that has raised an error tells the others, wherever they wait for it next, so that none waits
for ever; they raise an error that says so.
"""

import contextlib
import pickle
from typing import Any, NamedTuple

import numpy as np

# What stands in errors of a process whose others have ended or do not answer. The names of the engines
# do not tell: an error of memory has them, too.
LOST = (
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "Application timeout",
    "Connect timeout",
    "heartbeat",
    "UNAVAILABLE: ",
    "remote process exited",
    "communicator was aborted",
    "collective operation timeout",
)
OBJECT = -3  # in the place of a number: an object follows


def is_loss(error):
    """Whether an error says that another process is lost."""
    return any(sign in str(error) for sign in LOST)


def portable(error):
    """An error that can go to other processes: itself, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the class of a stranger's error raises there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Told(NamedTuple):
    """What a process sends that has raised an error."""

    error: Any


class OtherEnded(RuntimeError):
    """Another process has raised an error."""


class Meetings:
    """Exchanges between processes, each of which begins with two integers of every process.

    So a process that tells an error meets the others in any of them.

    Args:
        gather: a function of an array of numpy, in every process of the same shape, that returns those
            of all, `(processes, …)`.
        is_alone: a function that says whether there is but one process.
        is_first: a function that says whether this is the first one.
    """

    def __init__(self, gather, is_alone, is_first):
        self.gather, self.is_alone, self.is_first = gather, is_alone, is_first

    def integers(self, first, second=0):
        """Two integers of every process, numpy `(processes, 2)`; the first is at least -2."""
        if self.is_alone():
            return np.array([[first, second]], "int64")
        found = self.gather(np.array([first, second], "int32")).astype("int64")
        if (found[:, 0] == OBJECT).any():
            self._objects(found, b"")
        return found

    def objects(self, value):
        """A list of every process's value."""
        if self.is_alone():
            return [value]
        data = pickle.dumps(value)
        found = self.gather(np.array([OBJECT, len(data)], "int32"))
        return self._objects(found, data)

    def _objects(self, numbers, data):
        sizes = np.where(numbers[:, 0] == OBJECT, numbers[:, 1], 0)
        filled = np.zeros(1 << int(sizes.max()).bit_length(), "uint8")  # few sizes, for who compiles
        filled[: len(data)] = np.frombuffer(data, "uint8")
        rows = self.gather(filled)
        found = [
            pickle.loads(row[:n].tobytes()) if n else None for row, n in zip(rows, sizes, strict=True)
        ]
        for number, value in enumerate(found):
            if isinstance(value, Told):
                raise OtherEnded(
                    f"Process {number} of {len(found)} ended with an error: {value.error}"
                ) from value.error
        if not sizes.all():
            raise OtherEnded(f"{len(found)} processes have not come to the same call.")
        return found

    @contextlib.contextmanager
    def telling(self):
        """A context in which an error is told to the others, who wait for this process or will."""
        try:
            yield
        except Exception as error:
            # Neither what they have told, nor what they know from within this context.
            if not (self.is_alone() or isinstance(error, OtherEnded) or "_is_told" in vars(error)):
                vars(error)["_is_told"] = True
                with contextlib.suppress(RuntimeError):  # the others may have raised one, or ended
                    self.objects(Told(portable(error)))
            raise

    def from_first(self, function):
        """What `function()` returned in the first process, where alone it is called."""
        with self.telling():
            value = function() if self.is_first() else None
        return self.objects(value)[0]

    def agreed(self, function):
        """What `function()` returned in the first process, when it has ended in all."""
        with self.telling():
            value = function()
        return self.objects(value if self.is_first() else None)[0]
