"""Tensors of the `.safetensors` format, read by its own library."""

from keras_dmmd.optional import package
from keras_dmmd.weight_files.weight_file import WeightFile


class SafetensorsFile(WeightFile):
    """A `.safetensors` file; see `WeightFile`. As it is opened, shapes are compared with sizes."""

    def _read_names(self):
        safetensors = package("safetensors", f"Reading {self.path!r}", "safetensors")
        self._file = self._open.enter_context(safetensors.safe_open(self.path, framework="numpy"))
        self.names = list(self._file.keys())

    def _shape(self, name):
        return self._file.get_slice(name).get_shape()

    def _read(self, name):
        return self._file.get_tensor(name)
