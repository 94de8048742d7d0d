"""Samplers by their names."""

from keras_dmmd import checks
from keras_dmmd.configs import check_config
from keras_dmmd.samplers.ancestral import Ancestral
from keras_dmmd.samplers.confidence import Confidence
from keras_dmmd.samplers.entropy_bound import EntropyBound
from keras_dmmd.samplers.first_hitting import FirstHitting
from keras_dmmd.samplers.psi import Psi
from keras_dmmd.samplers.remasking import Remasking
from keras_dmmd.samplers.stepper import Stepper, name_of
from keras_dmmd.samplers.threshold import Threshold

SHIPPED = (Ancestral, Confidence, Threshold, EntropyBound, Remasking, Psi, FirstHitting)
BY_NAME = {name_of(cls): cls for cls in SHIPPED}


def names():
    """The names of the samplers that ship.

    Example:

    ```python
    kd.samplers.names()  # ["ancestral", "confidence", ...]
    ```
    """
    return list(BY_NAME)


def get(sampler):
    """A `Stepper` from itself, its name, its serialised form, or `None`, which is ancestral.

    Example:

    ```python
    kd.samplers.get("confidence")  # Confidence with its defaults
    ```
    """
    if sampler is None:
        return Ancestral()
    if isinstance(sampler, dict) and "class_name" in sampler:
        sampler = checks.deserialized("sampler", sampler)
    if isinstance(sampler, str) and sampler in BY_NAME:
        return BY_NAME[sampler]()
    if isinstance(sampler, Stepper):
        check_config("sampler", sampler, Stepper)
        return sampler
    if isinstance(sampler, type) and issubclass(sampler, Stepper):
        raise ValueError(f"`sampler` must be an object, {sampler.__name__}(). Received: the class")
    raise ValueError(
        f"`sampler` must be one of {names()} or a keras_dmmd.samplers.Stepper. "
        f"Received: {checks.shown(sampler)}"
    )
