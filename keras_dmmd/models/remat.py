"""Functional models whose blocks are made again for gradients.

`keras.RematScope` does this for any layer, but the function that it makes takes `training` and other
flags for tensors on JAX, and no keyword arguments in a compiled function on TensorFlow: the layers of
KerasHub have both. Here only tensors are arguments of what is made again.
"""

import keras
from keras import layers

from keras_dmmd import backend


def check_no_dropout(model):
    """What is made again would drop other numbers than at first.

    Raises:
        ValueError: the model has a layer that drops.
    """
    found = [x for x in model._flatten_layers() if isinstance(x, layers.Dropout)]
    names = sorted({layer.name for layer in found if layer.rate})
    if names:
        raise ValueError(
            "What drops at random cannot be made again for gradients: make the backbone with "
            f"`dropout=0`, or leave out `remat`. Its layers that drop: {names[:3]}."
        )


def run(model, inputs, training=False):
    """A call of a functional model of which gradients keep the inputs of blocks alone.

    Args:
        model: made by `keras.Model(inputs, outputs)`. Its blocks are layers that have layers.
        inputs: a list of tensors.
        training: as of a call.

    Returns:
        The model's outputs, in their structure.
    """
    return model._run_through_graph(inputs, operation_fn=lambda layer: _called(layer, training))


def _called(layer, training):
    """What to call for a layer, or for an operation without weights."""

    def call(*args, **kwargs):
        if "training" in getattr(layer, "_call_context_args", ()):
            kwargs["training"] = training
        if not isinstance(layer, keras.layers.Layer) or not layer._layers or not layer.trainable:
            return layer(*args, **kwargs)
        return _again(layer, args, kwargs)

    return call


def _again(layer, args, kwargs):
    """A layer's outputs; the float tensors among its inputs are what gradients keep."""
    leaves = keras.tree.flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
    found = []

    def run(*floats):
        filled = list(leaves)
        for place, value in zip(places, floats, strict=True):
            filled[place] = value
        own_args, own_kwargs = keras.tree.pack_sequence_as((args, kwargs), filled)
        found.append(layer(*own_args, **own_kwargs))
        return tuple(keras.tree.flatten(found[-1]))

    outputs = backend.remat(run)(*(leaves[place] for place in places))
    return keras.tree.pack_sequence_as(found[0], list(outputs))


def _is_float(leaf):
    return keras.ops.is_tensor(leaf) and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(leaf.dtype)
    )
