"""Low-rank adapters (LoRA, arXiv 2106.09685): which layers get them, and a network that several share.

They are Keras's own, `layer.enable_lora`: `kernel + A B`, with `A B` 0 at first.
"""

import math

import keras
from keras import layers

from keras_dmmd.models.changes import ADAPTABLE, base_of, has_adapters, layers_of, own_variables

# In KerasHub's layers. Attention sees products of queries and keys, so that an adapter of the queries
# moves what one of the keys would; the pooled features are not what a denoiser reads.
NOT_ADAPTED = ("key", "key_dense", "k_dense_layer", "pooled_dense")


def enable(denoiser, rank, target_layer_names=None, without=()):
    """Freeze a network, and give some of its layers adapters, which are trained instead.

    Args:
        denoiser: a built layer.
        rank: of an adapter, but no more than its kernel has.
        target_layer_names: which; by default every `Dense` and `EinsumDense` but `NOT_ADAPTED`.
        without: layers inside that are left as they are.

    Raises:
        ValueError: none of the layers has such a name, or one has an adapter of another rank.
    """
    found = layers_of(denoiser, without)
    targets = [layer for layer in found if _is_target(layer, target_layer_names)]
    if not targets:
        names = sorted({layer.name for layer in found if isinstance(layer, ADAPTABLE)})
        raise ValueError(
            "None of the layers that may have adapters is among "
            f"target_layer_names={target_layer_names!r}. They are: {names}"
        )
    for layer in targets:
        if has_adapters(layer) and layer.lora_rank != _rank(layer, rank):
            raise ValueError(
                f"The layer {layer.name!r} has an adapter of rank {layer.lora_rank} already, not of "
                f"{_rank(layer, rank)}: merge it first, `model.merged()`."
            )
    for layer in found:
        layer._trainable = layer is denoiser or layer in targets  # without what is below it
        if layer in targets and not has_adapters(layer):
            layer.enable_lora(_rank(layer, rank))
        for variable in own_variables(layer):
            variable.trainable = layer in targets and variable.name.startswith("lora_")


def _is_target(layer, names):
    if names is not None:
        return layer.name in names and isinstance(layer, ADAPTABLE)
    return isinstance(layer, (layers.Dense, layers.EinsumDense)) and layer.name not in NOT_ADAPTED


def _rank(layer, rank):
    *first, last = base_of(layer).shape
    return min(rank, math.prod(first), last)


def share(source, target):
    """Have a layer use another one's weights, but for adapters; both then change together.

    Args:
        source, target: layers of the same make.
    """
    weights = attributes(source)
    for name, variable in attributes(target).items():
        if name in weights and not name.startswith("lora_"):
            _replace(target, variable, weights[name])
            setattr(target, name, weights[name])


def _replace(layer, old, new):
    """Have Keras list a variable in the place of another one."""
    stores = {
        "trainable_variables": layer._trainable_variables,
        "non_trainable_variables": layer._non_trainable_variables,
    }
    for name, variables in stores.items():
        for i, variable in enumerate(variables):
            if variable is old:
                variables[i] = new
                layer._tracker.stored_ids[name].symmetric_difference_update({id(old), id(new)})


def attributes(layer):
    """The weights that are attributes of a layer, by their names."""
    return {name: value for name, value in vars(layer).items() if isinstance(value, keras.Variable)}
