"""The weights that a network would have without adapters, and without integers."""

import numpy as np
from keras import layers, ops

from keras_dmmd import backend
from keras_dmmd.models.adapters import attributes
from keras_dmmd.models.changes import base_of, has_adapters, is_quantized, own_variables

# An attribute of integers, and where its scale is.
SCALES = {
    "_kernel": "kernel_scale",
    "_embeddings": "embeddings_scale",
    "reverse_embeddings": "reverse_embeddings_scale",
}


def assign_merged(source, target):
    """Give a plain layer the weights of one with an adapter, or of integers, or of neither.

    Sums are in float64, and rounded once.

    Raises:
        ValueError: the source is quantised in another way than int8.
    """
    if not (has_adapters(source) or is_quantized(source)):
        for variable, value in zip(own_variables(target), own_variables(source), strict=True):
            variable.assign(backend.to_numpy(value.value))
        return
    if source.quantization_mode not in (None, "int8"):
        raise ValueError(
            f"The layer {source.name!r} is quantised as {source.quantization_mode!r}: only int8 is "
            "made plain again."
        )
    for name, variable in attributes(target).items():
        variable.assign(_merged(source, name).astype("float32"))


def _merged(layer, name):
    value = attributes(layer)[name]
    merged = np.float64(backend.to_numpy(ops.cast(value, "float32")))
    if is_quantized(layer) and name in SCALES:
        merged = merged / _scale(layer, SCALES[name])
    if has_adapters(layer) and value is base_of(layer):
        prefix = "lora_embeddings" if isinstance(layer, layers.Embedding) else "lora_kernel"
        a, b = (backend.to_numpy(attributes(layer)[f"{prefix}_{part}"].value) for part in "ab")
        merged = merged + layer.lora_alpha / layer.lora_rank * np.matmul(np.float64(a), np.float64(b))
    return merged


def _scale(layer, name):
    """By what integers are divided, in their own layout."""
    scale = ops.convert_to_tensor(attributes(layer)[name])
    if isinstance(layer, layers.EinsumDense):
        scale = layer._adjust_scale_for_dequant(scale)
    scale = np.float64(backend.to_numpy(scale))
    return scale[:, None] if name == "embeddings_scale" else scale
