"""Arrays of numpy in a zip archive, `.npz`."""

import math

import numpy as np

from keras_dmmd.weight_files.archive import Archive
from keras_dmmd.weight_files.weight_file import WeightFile


class NpzFile(WeightFile):
    """What `numpy.savez` and `numpy.savez_compressed` write, of numbers; see `WeightFile`."""

    def _read_names(self):
        self._archive = Archive(self.path, self._open)
        odd = [name for name in self._archive.names if not name.endswith(".npy")]
        if odd:
            raise ValueError(f"{odd[0][:100]!r} is no array of numpy")
        self.names = [name.removesuffix(".npy") for name in self._archive.names]

    def _header(self, name):
        """Shape, whether it is in Fortran's order, dtype, bytes of the header."""
        with self._archive.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            if version != (1, 0):  # later ones are for headers of more than 64 KB
                raise ValueError(f"it is of version {version} of the format, not of the first")
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(member)
            start = member.tell()
        if dtype.kind not in "fiu":
            raise ValueError(f"its dtype {dtype} is not one of numbers")
        declared, held = math.prod(shape) * dtype.itemsize, self._archive.size(f"{name}.npy") - start
        if any(size < 0 for size in shape) or declared != held:
            raise ValueError(f"it declares shape {shape} of {dtype}, but holds {held:,} bytes")
        return shape, fortran_order, dtype, start

    def _shape(self, name):
        return self._header(name)[0]

    def _read(self, name):
        shape, fortran_order, dtype, start = self._header(name)
        values = np.frombuffer(self._archive.read(f"{name}.npy"), dtype, offset=start)
        return values.reshape(shape, order="F" if fortran_order else "C")
