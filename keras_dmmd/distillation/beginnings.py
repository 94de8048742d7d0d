"""How a distillation begins: student and critic as copies of the teacher."""

import math

from keras_dmmd.models import NoiseConditioning


def begin_student(teacher, steps, noise, noise_scale, adapters, seed):
    """A copy with a random input, which is told how far a step goes where it is for several `steps`."""
    several = isinstance(steps, tuple)
    student = _copy(teacher, steps, adapters, noise=noise, seed=seed + 2, name="student")
    student.steps = round(math.sqrt(math.prod(steps))) if several else steps
    layer = student.capabilities.noise_layer
    if isinstance(layer, NoiseConditioning):
        layer.perturb(layer.default_scale if noise_scale == "auto" else noise_scale, seed + 6)
    return student


def begin_critic(teacher, steps, adapters, seed):
    """A copy without a random input, which is told what the student is told."""
    return _copy(teacher, steps, adapters, seed=seed + 4, name="critic")


def _copy(teacher, steps, adapters, **kwargs):
    """A copy that can be trained: with adapters beside shared weights, or with floats of its own."""
    origin = teacher.merged() if teacher.is_quantized and adapters is None else teacher
    told = {"step_conditioning": True} if isinstance(steps, tuple) else {}
    return origin.copy(adapters=adapters, **told, **kwargs)


def default_renoise(process):
    """`"posterior"` where open tokens carry no trace of `z_t`, else `"mixed"` (benchmarks/toy.py)."""
    return "posterior" if process.absorbing else "mixed"


def default_noise(teacher):
    """`"token"`, `"gaussian"` or `None`, by the teacher's process and the shape of its data.

    From a constant start a student without a random input has one prediction for all samples: in one
    call it can only draw each token on its own. Random tokens that act from the start halve the
    distance of images that are drawn in one call or two; texts gain nothing, and molecules lose
    (benchmarks/calls.py, docs/results.md).
    """
    if not teacher.process.constant_prior:
        return None
    return "gaussian" if teacher.capabilities.grid is None else "token"
