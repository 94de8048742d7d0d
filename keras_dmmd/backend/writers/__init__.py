"""Compiled functions as files, by the backend that runs: `WRITERS`, by format.

A writer is a function `(function, inputs, output, layers, path, weights)`: of tensors in the order of
`inputs`, `keras_dmmd.exporting.graphs.Input`s, to one tensor, named `output`; `layers` hold the weights
that it reads, which the format keeps as `weights` says, `None` or `"int8"`. The file or folder is
written at `path`, which does not exist yet.
"""

import keras

# What each backend writes, for the sentence that says where a format can be had.
BACKENDS = {
    "stablehlo": ("jax",),
    "saved_model": ("tensorflow",),
    "litert": ("tensorflow",),
    "onnx": ("torch",),
    "torch": ("torch",),
}

if keras.backend.backend() == "jax":
    from keras_dmmd.backend.writers.jax import WRITERS as WRITERS
elif keras.backend.backend() == "tensorflow":
    from keras_dmmd.backend.writers.tensorflow import WRITERS as WRITERS
else:
    from keras_dmmd.backend.writers.torch import WRITERS as WRITERS
