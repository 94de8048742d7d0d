"""Weights over devices, for `keras.distribution` on JAX: fully sharded, or split along the network.

```python
keras.distribution.set_distribution(kd.distribution.FullySharded())  # before any model is made
```
"""

import keras
from keras.distribution import DataParallel, DeviceMesh, LayoutMap, ModelParallel, TensorLayout

from keras_dmmd import checks

# Kernels whose output is split over devices, and kernels that take such a split up again, as in
# Shoeybi et al., "Megatron-LM" (arXiv 1909.08053): activations between them are never whole.
INTO_PARTS = ("qkv", "mlp_in", "head")
OUT_OF_PARTS = ("attention_out", "mlp_out")


class FullySharded(DataParallel):
    """Each device has a part of every batch, and of every weight (arXiv 1910.02054, stage 3).

    What an optimizer keeps of a weight lies beside it, and so do gradients: bytes per device fall as
    one over the number of devices. A weight is split along the longest of its dimensions that the
    number of devices divides; one without such a dimension is on all of them. XLA gathers a layer's
    weights when it needs them.

    Args:
        device_mesh: a `keras.distribution.DeviceMesh`, whose first axis divides batches and weights; by
            default all devices.
        devices: a list of devices, in place of a mesh.
        auto_shard_dataset: see `keras.distribution.DataParallel`.

    Example:

    ```python
    keras.distribution.set_distribution(kd.distribution.FullySharded())  # before any model is made
    model = kd.DiffusionModel(kd.Denoiser(17, grid=(8, 8)), kd.MaskedDiffusion(17))
    ```
    """

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        if any(layout.axes) or not keras.backend.is_float_dtype(variable.dtype):
            return layout
        axes = [None] * len(variable.shape)
        devices = self.device_mesh.shape[0]
        fit = [i for i, size in enumerate(variable.shape) if size and size % devices == 0]
        if not fit:
            return layout
        axes[max(fit, key=lambda i: variable.shape[i])] = self.batch_dim_name
        return TensorLayout(axes, self.device_mesh)


class SplitLayers(ModelParallel):
    """`keras.distribution.ModelParallel` by `layout_map`, or another map.

    A dimension that the devices of its axis do not divide, such as a vocabulary of 50,257 words, is
    left whole.

    Args:
        layout_map: a `keras.distribution.LayoutMap`.
        batch_dim_name, auto_shard_dataset: see `keras.distribution.ModelParallel`.

    Example:

    ```python
    devices = len(keras.distribution.list_devices())
    mesh = keras.distribution.DeviceMesh((devices // 2, 2), ["batch", "model"])
    layout = kd.distribution.layout_map(mesh)
    distribution = kd.distribution.SplitLayers(layout_map=layout, batch_dim_name="batch")
    keras.distribution.set_distribution(distribution)  # before any model is made
    model = kd.DiffusionModel(kd.Denoiser(17, grid=(8, 8)), kd.MaskedDiffusion(17))
    ```
    """

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        sizes = dict(zip(self.device_mesh.axis_names, self.device_mesh.shape, strict=True))
        axes = [
            axis if axis is None or size % sizes[axis] == 0 else None
            for axis, size in zip(layout.axes, variable.shape, strict=True)
        ]
        return layout if axes == list(layout.axes) else TensorLayout(axes, self.device_mesh)


def layout_map(device_mesh, model="model", data=None):
    """How the weights of `Denoiser` and `BlockDenoiser`, and so of a DiT, are split within layers.

    For `SplitLayers` or `keras.distribution.ModelParallel`: heads and features of the MLP are divided
    among the devices of one axis of a mesh, the words of the head too, and a block adds up its parts
    twice. All networks of a distillation and their optimizers are laid out alike.

    Args:
        device_mesh: a `keras.distribution.DeviceMesh`.
        model: the axis that divides layers.
        data: an axis that divides the other dimension of the same weights too, as `FullySharded` does,
            or `None`.

    Returns:
        A `keras.distribution.LayoutMap`.

    Example:

    ```python
    devices = len(keras.distribution.list_devices())
    mesh = keras.distribution.DeviceMesh((1, devices), ["batch", "model"])
    layout = kd.distribution.layout_map(mesh, data="batch")
    layout["denoiser/block_0/qkv/kernel"]  # which axes divide the weights of that name
    ```
    """
    if not isinstance(device_mesh, DeviceMesh):
        raise ValueError(
            "`device_mesh` must be a keras.distribution.DeviceMesh. "
            f"Received: {checks.shown(device_mesh)}"
        )
    for name, axis in (("model", model), ("data", data)):
        if axis is not None or name == "model":
            checks.choice(name, axis, tuple(device_mesh.axis_names))
    found = LayoutMap(device_mesh)
    for names, kernel, bias in (
        (INTO_PARTS, (data, model), (model,)),
        (OUT_OF_PARTS, (model, data), (None,)),
    ):
        layers = "|".join(names)
        found[f".*/({layers})/kernel"] = kernel
        found[f".*/({layers})/bias"] = bias
    found[".*/token_embedding/embeddings"] = (data, model)
    found[".*/modulation/kernel"] = (None, data)
    return found
