"""Models that are made without memory for their weights, compared with a file, and then filled."""

import keras
from keras import ops
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import initialize_all_variables

WAITING = "uninitialized_variables"  # Keras's list of variables that are made and not allocated


def made_from(make, values):
    """A model whose weights come from a file, which is compared with it before memory is taken.

    Args:
        make: a function that makes a built model. Its weights have names, shapes and initializers, and
            no memory yet.
        values: a function from that model to pairs `(variable, read)`, which raises where the file does
            not fit. `read()` gives the values, a numpy array of the variable's shape.

    Returns:
        The model. Variables that are not among the pairs, such as states of random numbers, are as
        their initializers make them.
    """
    before = global_state.get_global_attribute(WAITING)
    global_state.set_global_attribute(WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = make()
            pairs = values(model)
        for variable, read in pairs:
            # In the place of random numbers, which on JAX take seconds to compile.
            variable._initializer = _from_file(read)
        initialize_all_variables()
    finally:
        global_state.set_global_attribute(WAITING, before or [])
    return model


def _from_file(read):
    def initializer(shape, dtype=None):
        array = read()
        if array.shape != tuple(shape):
            raise ValueError(f"Values of shape {array.shape} are for a weight of shape {shape}.")
        return ops.convert_to_tensor(array, dtype=dtype)

    return initializer
