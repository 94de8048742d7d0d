"""Models that are made without memory for their weights, compared with a file, and then filled."""

import keras
from keras import ops
from keras.src.backend.common import global_state

from keras_dmmd.weight_files.weight_file import short

WAITING = "uninitialized_variables"  # Keras's list of variables that are made and not allocated


def made_from(make, values, path, change=None):
    """A model whose weights come from a file, which is compared with it before memory is taken.

    Args:
        make: a function that makes a built model. Its weights have names, shapes and initializers, and
            no memory yet.
        values: a function from that model to pairs `(variable, read)`, which raises where the file does
            not fit. `read()` gives the values, a numpy array of the variable's shape.
        path: of the file that describes the model, for errors.
        change: a function that puts other variables into the model, or `None`.

    Returns:
        The model. Variables that are not among the pairs, such as states of random numbers, are as
        their initializers make them.

    Raises:
        ValueError: an initializer fails, as that of a seed that is no seed.
    """
    before = global_state.get_global_attribute(WAITING)
    global_state.set_global_attribute(WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = make()
            first = {id(variable): variable for variable in model.weights}
            if change is not None:
                change(model)
            dropped = {*first} - {id(variable) for variable in model.weights}
            pairs = values(model)
        reads = {id(variable): read for variable, read in pairs}
        for variable in global_state.get_global_attribute(WAITING):
            if id(variable) in dropped:
                continue
            if id(variable) in reads:
                # In the place of random numbers, which on JAX take seconds to compile.
                variable._initializer = _constant(reads[id(variable)]())
                variable._deferred_initialize()
                continue
            try:
                variable._deferred_initialize()
            except (ValueError, TypeError, OverflowError, RuntimeError) as error:
                raise ValueError(f"{path!r} makes no {variable.path}: {short(error)}") from error
    finally:
        global_state.set_global_attribute(WAITING, before or [])
    return model


def _constant(array):
    return lambda shape, dtype=None: ops.convert_to_tensor(array, dtype=dtype)
