"""The contract of a file of weights: names and shapes first, values one array at a time."""

import contextlib
import math
import os

import numpy as np

# What a file may declare: half precision that was compressed well, and room for small ones of zeros.
EXPANSION, ROOM = 4, 2**24
SHOWN = 300  # characters of what another library says


class DamagedFile(OSError, ValueError):
    """A file that cannot be read as what it is said to be."""


class WeightFile:
    """Arrays by name, in a file that may be damaged or made to do harm.

    Nothing of it is executed. What it declares is compared with its size, so that reading takes time
    and memory in proportion to the file. It is a context manager: leaving it closes the file.

    Args:
        path: of the file.

    Attributes:
        path: of the file, a string.
        names: of its arrays, in the order of the file.

    Raises:
        DamagedFile: an `OSError` and a `ValueError`: it is no such file.
        OSError: it cannot be opened.
    """

    names = ()

    def __init__(self, path):
        self.path = os.fspath(path)
        self._open = contextlib.ExitStack()
        try:
            with open(self.path, "rb"):  # what the system has to say of it, it says with the path
                pass
            with self.reading():
                self._read_names()
        except BaseException:
            self._open.close()
            raise

    def _read_names(self):
        """Open the file and set `names`."""
        raise NotImplementedError

    def shape(self, name):
        """The shape of an array, without its values.

        Raises:
            DamagedFile: what is declared of it is not what the file holds.
        """
        with self.reading(name):
            return tuple(self._shape(name))

    def read(self, name):
        """The values of an array, float32 numpy, a copy.

        Raises:
            DamagedFile: they are not there, changed, or no numbers.
        """
        with self.reading(name):
            return np.array(self._read(name), "float32")

    def read_finite(self, name):
        """The values of an array as `read` gives them, where all of them are finite.

        Raises:
            DamagedFile: some are not, or see `read`.
        """
        with np.errstate(over="ignore"), self.reading(name):  # float64 beyond float32 is infinite here
            values = self.read(name)
            if not np.isfinite(values).all():
                raise ValueError("it has values that are not finite")
            return values

    def check_size(self, names):
        """Raise a `DamagedFile` where arrays together are larger than such a file can hold.

        One stretch of a file may be declared to be many arrays, or be packed zeros.
        """
        found = sum(math.prod(self.shape(name)) for name in names)
        with self.reading():
            most = (EXPANSION * os.path.getsize(self.path) + ROOM) // 2
            if found > most:
                raise ValueError(
                    f"it declares {found:,} numbers in {os.path.getsize(self.path):,} bytes"
                )

    @contextlib.contextmanager
    def reading(self, name=None):
        """A context in which every error says that this file is damaged, and where."""
        try:
            yield
        except (DamagedFile, ImportError):
            raise
        except Exception as error:  # of zip, zlib, numpy, struct, pickle and more
            entry = "" if name is None else f" at {name[:SHOWN]!r}"
            raise DamagedFile(
                f"The weights in {self.path!r} are damaged{entry}, or no such file: {short(error)}"
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self._open.close()


def short(error):
    """What an error says, in one line that a stranger's file cannot make endless."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"
