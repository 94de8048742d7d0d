"""What Keras's loop over batches does with the state of a model on JAX, which it donates."""

from jax import numpy as jnp


def unshare(variables):
    """Give each variable a buffer of its own: `fit` donates them, and one cannot be donated twice.

    Keras's `assign` from another variable, as when an EMA overwrites the weights, shares the buffer.
    """
    seen = set()
    for variable in variables:
        if variable._value is None:  # `fit` failed within a step, and its donated state is gone
            continue
        if id(variable.value) in seen:
            variable.assign(jnp.copy(variable.value))
        seen.add(id(variable.value))


def keeper(variables):
    before = [(v, v._value) for v in variables if v._value is not None]

    def keep(model):
        # Keras lends the state to its loop, and only a loop that ends well gives it back.
        if getattr(model, "_jax_state", None):
            model.jax_state_sync()
        model._jax_state = None
        for variable, value in before:
            if variable._value is None and not value.is_deleted():
                variable._value = value

    return keep


def pass_over(steps, state, iterator):
    """What a train function returns that has taken its batches and not trained on them."""
    for _ in range(steps):
        next(iterator)
    return {}, state


def return_state(model):
    # Keras lends the state to its loop, and takes it from the variables again where a callback asked.
    model.jax_state_sync()
