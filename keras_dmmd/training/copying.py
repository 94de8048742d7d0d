"""Copies of a model's denoiser: a student's and a critic's beginning."""

from keras_dmmd import backend
from keras_dmmd.models import adapters, changes, merging


def copy_denoiser(model, noise, step_conditioning=None):
    """A denoiser of the same configuration, with another random input; its weights are new.

    Args:
        model: the `DiffusionModel` whose it is.
        noise: the random input.
        step_conditioning: whether it is told how far a step goes; `None` is as the model's.

    Raises:
        ValueError: it has no place for such a random input, or cannot be told of steps.
    """
    denoiser = model.denoiser
    config = {**denoiser.get_config(), "trainable": True}  # a teacher may be frozen
    if model.capabilities.takes_noise:
        config["noise"] = noise
    elif noise is not None:
        raise ValueError(
            f"{type(denoiser).__name__} has no random input to copy it with `noise={noise!r}`: give "
            "the student yourself, or pass `noise=None`."
        )
    if step_conditioning is not None:
        if step_conditioning and not model.capabilities.takes_steps:
            raise ValueError(
                f"{type(denoiser).__name__} cannot be told how far a step goes, which "
                "`step_conditioning=True` asks for."
            )
        config["step_conditioning"] = step_conditioning
    try:
        return type(denoiser).from_config(config)
    except TypeError as error:  # what Keras makes of an error in a constructor
        raise ValueError(
            f"The denoiser cannot be copied with noise={noise!r}: {error.__context__}"
        ) from error


def copy_changes(source, target):
    """Do to a model's layers what was done to another one's: int8, adapters, what is frozen.

    Where all was frozen, as a teacher's weights are, nothing is.
    """
    found = changes.read(_layers(source, target))
    changes.restore(
        _layers(target, source), found if source.trainable_variables else changes.thawed(found)
    )


def copy_weights(source, target):
    """Give a model another one's weights, but for those of their random inputs."""
    for one, other in _pairs(source, target):
        pairs = zip(changes.own_variables(other), changes.own_variables(one), strict=True)
        for variable, value in pairs:
            # Through numpy: on JAX, `assign` from a variable shares a buffer that `fit` then donates.
            variable.assign(backend.to_numpy(value.value))


def merge_weights(source, target):
    """Give a plain model the weights that another one has without adapters and integers."""
    found = changes.layers_of(target)
    for one, other in zip(changes.layers_of(source), found, strict=True):
        merging.assign_merged(one, other)
    changes.restore(found, {})


def share_weights(source, target):
    """Have a model use another one's weights, frozen, but for adapters and its random input."""
    for one, other in _pairs(source, target):
        adapters.share(one, other)
    source.trainable = False
    backend.retrack(changes.layers_of(target))


def is_shared(source, target):
    """Whether a model uses weights of another one."""
    own = {id(v) for v in source.weights}
    return any(id(v) in own for v in target.weights)


def _layers(model, other):
    """All layers but a random input, and what the other model cannot have."""
    left_out = model.capabilities.added_layers
    if other.capabilities.step_layer is not None:
        left_out = [layer for layer in left_out if layer is not model.capabilities.step_layer]
    return changes.layers_of(model, without=left_out)


def _pairs(source, target):
    return zip(_layers(source, target), _layers(target, source), strict=True)
