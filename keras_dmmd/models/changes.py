"""What became of layers after they were made: int8, adapters, what is frozen.

The config of a denoiser says how it is made, and nothing of this, which Keras does to layers inside.
Here it is read, as what each of a list of layers has become, and done again to layers of the same
make: those of a copy, or of a file.
"""

import contextlib
import gc

import keras
from keras import layers

# What Keras gives adapters to, and keeps as integers.
ADAPTABLE = (layers.Dense, layers.EinsumDense, layers.Embedding)


def layers_of(root, without=()):
    """A layer and those below it, each once and in an order that its class decides.

    Args:
        root: a layer or model.
        without: some of those below, which are left out with what is below them.
    """
    left_out = {id(layer) for part in without for layer in part._flatten_layers()}
    found = {id(layer): layer for layer in root._flatten_layers()}
    return [layer for key, layer in found.items() if key not in left_out]


def own_variables(layer):
    """The weights of a layer itself, without those of layers below it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def has_adapters(layer):
    """Whether a layer has Keras's LoRA."""
    return isinstance(layer, ADAPTABLE) and layer.lora_enabled


def base_of(layer):
    """The kernel or table beside which an adapter stands."""
    return layer._embeddings if isinstance(layer, layers.Embedding) else layer._kernel


def is_quantized(layer):
    """Whether a layer keeps its weights as integers."""
    return isinstance(layer, ADAPTABLE) and layer.quantization_mode is not None


def read(found):
    """What became of each of a list of layers.

    Returns:
        A dict that JSON can hold, from the number of a layer in the list, a string, to a dict of
        `"quantized"`: the mode, such as `"int8"`, or a config of Keras where it is not that mode's
        default; `"lora_rank"`, `"lora_alpha"`; `"trainable"`: `False`; `"frozen"`: the numbers of
        weights that are frozen in a layer. Layers that are as they were made are left out.
    """
    changes = {str(i): _read_layer(layer) for i, layer in enumerate(found)}
    return {number: change for number, change in changes.items() if change}


def _read_layer(layer):
    change = {}
    if is_quantized(layer):
        change["quantized"] = _read_quantization(layer)
    if has_adapters(layer):
        change |= {"lora_rank": layer.lora_rank, "lora_alpha": layer.lora_alpha}
    if not layer.trainable:
        change["trainable"] = False
    frozen = [i for i, v in enumerate(layer._trainable_variables) if not v.trainable]
    return change | ({"frozen": frozen} if frozen else {})


def _read_quantization(layer):
    policy = layer.dtype_policy
    if isinstance(policy, keras.dtype_policies.DTypePolicyMap):
        policy = policy[layer.path]
    mode, config = policy.quantization_mode, layer.quantization_config
    default = keras.quantizers.Int8QuantizationConfig()
    if config is None or (mode == "int8" and config.get_config() == default.get_config()):
        return mode
    return keras.saving.serialize_keras_object(config)


def restore(found, changes):
    """Do to layers that were just made what was read from others of the same make.

    Args:
        found: list of built layers, whose weights may still be any.
        changes: what `read` returned.

    Raises:
        ValueError: they are not of that make.
    """
    unknown = sorted(set(changes) - {str(i) for i in range(len(found))})
    if unknown:
        raise ValueError(
            f"`changes` is of another network: this one has {len(found)} layers, and none of the "
            f"numbers {unknown}."
        )
    with collections_of_what_is_new():
        _restore(found, changes)


def _restore(found, changes):
    for i, layer in enumerate(found):
        change = changes.get(str(i), {})
        if {"quantized", "lora_rank"} & set(change) and not isinstance(layer, ADAPTABLE):
            raise ValueError(
                f"`changes` is of another network: layer {i} of this one is a "
                f"{type(layer).__name__}, which takes no {' and no '.join(sorted(change))}."
            )
        if "quantized" in change and layer.quantization_mode is None:
            _quantize(layer, change["quantized"])
        if "lora_rank" in change and not layer.lora_enabled:
            layer.enable_lora(change["lora_rank"], lora_alpha=change["lora_alpha"])
        layer._trainable = change.get("trainable", True)  # without what is below it
        for j, variable in enumerate(layer._trainable_variables):
            variable.trainable = j not in change.get("frozen", ())
        if has_adapters(layer):
            base_of(layer).trainable = False


def _quantize(layer, mode):
    if isinstance(mode, str):
        layer.quantize(mode)
    else:
        layer.quantize(config=keras.saving.deserialize_keras_object(mode))


@contextlib.contextmanager
def collections_of_what_is_new():
    """A context in which `gc.collect()`, which Keras calls for each layer, looks at new objects alone.

    In a process with TensorFlow inside it takes about a tenth of a second. What the process itself has
    frozen, as servers do before they fork, stays so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def thawed(changes):
    """What was read, without what is frozen in it, but for what adapters stand beside."""
    kept = {
        number: {name: value for name, value in change.items() if name not in ("trainable", "frozen")}
        for number, change in changes.items()
    }
    return {number: change for number, change in kept.items() if change}
