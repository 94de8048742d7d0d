"""What `torch.save` writes, read without Torch: a zip archive of a pickle and of numbers."""

import dataclasses
import math

import numpy as np

from keras_dmmd.weight_files import pickles
from keras_dmmd.weight_files.archive import Archive
from keras_dmmd.weight_files.weight_file import WeightFile, short

DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper half of a float32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A part of a storage, as a pickle describes it: strides and offset count numbers, not bytes."""

    kind: str
    key: str
    offset: int
    shape: tuple
    strides: tuple


class TorchFile(WeightFile):
    """A Lightning checkpoint `.ckpt` or a `.pt` file, written by `torch.save`; see `WeightFile`.

    Args:
        path: of the file.
        ema: whether to take the average of the weights, if there is one under `"ema"`.

    Raises:
        ValueError: it holds no weights by name, or an average of other ones.
    """

    def __init__(self, path, ema=True):
        self._ema = ema
        super().__init__(path)

    def _read_names(self):
        content = self._content()
        state = content.get("state_dict", content) if isinstance(content, dict) else content
        if not isinstance(state, dict):
            kind = type(state).__name__
            raise ValueError(f"it holds no weights by name: {kind} in the place of a dict")
        found = {str(name): _tensor(value) for name, value in state.items()}
        self._tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
        if self._ema and content.get("ema"):
            self._tensors |= self._averages(content["ema"])
        self.names = list(self._tensors)

    def _content(self):
        try:
            self._archive = Archive(self.path, self._open)
            roots = [n.removesuffix("data.pkl") for n in self._archive.names if n.endswith("/data.pkl")]
            if len(roots) != 1:
                raise ValueError("it is no file of torch.save")
            self._archive.without_checksums()
            self._root, self._last = roots[0], (None, None)
            order = f"{self._root}byteorder"
            if order in self._archive and self._archive.read(order) != b"little":
                raise ValueError("its numbers are not in little-endian order")
            return pickles.read(self._archive.read(f"{self._root}data.pkl"))
        except Exception as error:
            raise ValueError(
                f"it cannot be read as weights alone. Save its `state_dict` by itself, with a Torch of "
                f"today. Cause: {short(error)}"
            ) from error

    def _averages(self, average):
        """The averages, which come in the order of the parameters, without names or buffers."""
        shadow = average.get("shadow_params") if isinstance(average, dict) else None
        shadow = [_tensor(value) for value in shadow] if isinstance(shadow, (list, tuple)) else [None]
        names = [name for name in self._tensors if not name.endswith("inv_freq")]
        names = [name for name in names if name.startswith("backbone.")] or names
        shapes = [tensor and tensor.shape for tensor in shadow]
        if shapes != [self._tensors[name].shape for name in names]:
            raise ValueError("the average of weights, 'ema', does not match them: pass `ema=False`")
        return dict(zip(names, shadow, strict=True))

    def _shape(self, name):
        tensor = self._tensors[name]
        member = self._archive.size(f"{self._root}data/{tensor.key}")
        held = member // np.dtype(DTYPES[tensor.kind]).itemsize
        last = sum(
            (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        count = math.prod(tensor.shape)
        if count and (count > held or not tensor.offset + last < held):
            raise ValueError(
                f"it declares shape {tensor.shape} with strides {tensor.strides} from {tensor.offset}, "
                f"but its storage holds {held:,} numbers"
            )
        return tensor.shape

    def _read(self, name):
        self._shape(name)
        tensor = self._tensors[name]
        if self._last[0] != tensor.key:  # many tensors may share one storage
            self._last = tensor.key, self._archive.read(f"{self._root}data/{tensor.key}")
        dtype = np.dtype(DTYPES[tensor.kind])
        content = self._last[1]
        numbers = np.frombuffer(content, dtype, len(content) // dtype.itemsize)
        strides = [stride * dtype.itemsize for stride in tensor.strides]
        values = np.lib.stride_tricks.as_strided(
            numbers[tensor.offset :], tensor.shape, strides, writeable=False
        )
        if tensor.kind == "BFloat16Storage":
            values = (values.astype("uint32") << 16).view("float32")
        return values


def _tensor(value):
    """The `Tensor` that an object of a pickle describes, or `None` for a thing of another form."""
    if not isinstance(value, pickles.Call) or not isinstance(value.function, pickles.Name):
        return None
    function, arguments = str(value.function), value.arguments
    if function in PARAMETERS and arguments:
        return _tensor(arguments[0])
    if function not in TENSORS or len(arguments) < 4:
        return None
    stored, offset, shape, strides = arguments[:4]
    place = stored.key if isinstance(stored, pickles.Stored) else None
    if not isinstance(place, tuple) or len(place) != 5 or place[0] != "storage":
        return None
    _, kind, key, _, _ = place
    fits = isinstance(kind, pickles.Name) and kind.name in DTYPES and isinstance(key, str)
    fits = fits and isinstance(shape, tuple) and isinstance(strides, tuple)
    fits = fits and all(type(size) is int and size >= 0 for size in (offset, *shape, *strides))
    return Tensor(kind.name, key, offset, shape, strides) if fits else None
