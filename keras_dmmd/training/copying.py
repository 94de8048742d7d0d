"""Copies of a model: a student's and a critic's beginning."""

from keras import ops


def copy_denoiser(model, noise):
    """A denoiser of the same configuration, with another random input; its weights are new.

    Raises:
        ValueError: it has no place for such a random input.
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
    try:
        return type(denoiser).from_config(config)
    except TypeError as error:  # what Keras makes of an error in a constructor
        raise ValueError(
            f"The denoiser cannot be copied with noise={noise!r}: {error.__context__}"
        ) from error


def copy_weights(source, target):
    """Give a model another one's weights, but for those of their random inputs."""
    pairs = zip(_without_noise(target), _without_noise(source), strict=True)
    for variable, value in pairs:
        # Through numpy: on JAX, `assign` from a variable shares a buffer that `fit` then donates.
        variable.assign(ops.convert_to_numpy(value))


def _without_noise(model):
    layer = model.capabilities.noise_layer
    own = set() if layer is None else {id(v) for v in layer.weights}
    return [v for v in model.denoiser.weights if id(v) not in own]
