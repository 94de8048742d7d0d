"""Adapters in files, as they are.

Keras merges an adapter into its kernel when it saves a layer, and loads zeros for both of its factors,
which no gradient moves again. So that a run goes on as it was, kernel and factors are kept apart here.
"""

import functools

from keras import ops

from keras_dmmd.models.changes import has_adapters, own_variables


def keep_adapters(layers):
    """Have layers with adapters saved, or loaded, once with every weight of theirs as it stands.

    Once, so that what Keras and KerasHub write of the same layers, such as a preset of a backbone,
    stays what they can read.
    """
    for layer in layers:
        if has_adapters(layer):
            layer.save_own_variables = functools.partial(_save, layer)
            layer.load_own_variables = functools.partial(_load, layer)


def _save(layer, store):
    _forget(layer)
    for i, variable in enumerate(own_variables(layer)):
        store[str(i)] = ops.convert_to_numpy(variable)


def _load(layer, store):
    variables = own_variables(layer)
    if len(store.keys()) != len(variables):
        raise ValueError(
            f"The layer {layer.name!r} has an adapter and {len(variables)} weights, but the file "
            f"{len(store.keys())} for it."
        )
    _forget(layer)
    for i, variable in enumerate(variables):
        variable.assign(store[str(i)])


def _forget(layer):
    del layer.save_own_variables, layer.load_own_variables
