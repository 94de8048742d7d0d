"""How a distillation begins: student and critic as copies of the teacher."""

import math

from keras_dmmd import checks
from keras_dmmd.distillation.checks import check_told
from keras_dmmd.models import NoiseConditioning

FEW_CALLS = 4
FEW_WORDS = 256


def begin(teacher, student, critic, adapters, steps, noise, noise_scale, seed, has_critic=True):
    """Student and critic: those that are given, or copies of the teacher.

    Args:
        teacher, student, critic: models that `check_models` has seen; the last two may be `None`.
        adapters: a rank, or `None`.
        steps: what `read_steps` returned.
        noise: the random input of a student that is copied; `"auto"` is `default_noise`.
        noise_scale: how strongly it acts at first; `"auto"` is by its kind.
        seed: of the distiller.
        has_critic: whether the method has one.

    Raises:
        ValueError: they do not fit each other.
    """
    noise_scale = checks.number("noise_scale", noise_scale, auto=True)
    if adapters is not None:
        adapters = checks.count("adapters", adapters)
    is_default = isinstance(noise, str) and noise == "auto"
    if student is not None and not (is_default and noise_scale == "auto"):
        raise ValueError(
            "`noise` and `noise_scale` describe the random input of a student that is copied from "
            "the teacher; a given `student` brings its own. Received: "
            f"noise={checks.shown(noise)}, noise_scale={noise_scale} and a student"
        )
    if adapters is not None and student is not None and (critic is not None or not has_critic):
        own = (
            "a given student and critic have their own" if has_critic else "a given student has its own"
        )
        raise ValueError(f"`adapters` are those of copies: {own}.")
    if student is None:
        noise = default_noise(teacher, steps) if is_default else noise
        student = begin_student(teacher, steps, noise, noise_scale, adapters, seed)
    check_told(steps, student=student)
    if has_critic:
        critic = critic or begin_critic(teacher, steps, adapters, seed)
        check_told(steps, critic=critic)
    return student, critic


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


def default_times(process, steps):
    """`"grid"` for one call or two where the start is random, else `"random"`.

    There times of the grid are far ahead (benchmarks/toy.py, docs/results.md). With more calls they
    gain nothing, under masked diffusion they gain on some data and lose on others, and students by
    random times are better in other numbers of calls than their own.
    """
    few = isinstance(steps, int) and steps <= 2
    return "grid" if few and not process.constant_prior else "random"


def default_student_temperature(process):
    """2 for masked diffusion of few words, else 1 (docs/results.md).

    Permutations, proteins and texts gained by it, masked images were level, and uniform ones lost or
    were level. Of many words the square roots are mostly those of words that nobody would write.
    """
    return 2.0 if process.absorbing and process.vocabulary_size <= FEW_WORDS else 1.0


def default_noise(teacher, steps):
    """`"token"`, `"gaussian"` or `None`, by the process, the shape of the data and the number of calls.

    From a constant start a student without a random input has one prediction for all samples: in one
    call it can only draw each token on its own. Random tokens act from the start. They halve the
    distance of images that are drawn in one call or two (benchmarks/calls.py, docs/results.md). With
    few calls a sequence needs them where its data have a symmetry that noise which starts from nothing
    cannot break, as permutations have (benchmarks/puzzles.py); with many, texts gain nothing by them,
    and molecules lose.
    """
    if not teacher.process.constant_prior:
        return None
    few = not isinstance(steps, tuple) and steps <= FEW_CALLS
    return "token" if few or teacher.capabilities.grid is not None else "gaussian"
