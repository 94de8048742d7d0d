"""What can be said of a distiller's arguments before anything runs."""

from keras import ops

from keras_dmmd import checks
from keras_dmmd.distillation.calls import Calls
from keras_dmmd.training.diffusion_model import DiffusionModel


def check_models(teacher, student=None, **others):
    """Raise a `ValueError` where models are no built `DiffusionModel`s, or do not belong together.

    `others` are a critic, or what else a method has, by name; each of them may be `None`.
    """
    check_model("teacher", teacher, teacher)
    for name, model in {"student": student, **others}.items():
        if model is not None:
            check_model(name, model, teacher)
    check_different(teacher=teacher, student=student, **others)
    for name, model in {"student": student, **others}.items():
        if model is None and not teacher.denoiser.weights:
            raise ValueError(
                f"The teacher's denoiser has no weights to copy a {name} from: pass `{name}=`."
            )


def check_made(teacher, **models):
    """Raise a `ValueError` where there is no student, or two of a method's models are one.

    What else they must be is the method's affair: a critic need not predict tokens.
    """
    if models["student"] is None:
        raise ValueError("`student` must be a model, `teacher.copy()` for one. Received: None")
    check_different(teacher=teacher, **models)


def check_different(**models):
    """Raise a `ValueError` where two models, of those that are not `None`, are one."""
    given = [model for model in models.values() if model is not None]
    if len({id(model) for model in given}) < len(given):
        *names, last = models
        raise ValueError(
            f"{', '.join(names).capitalize()} and {last} must be different models; copy with `.copy()`."
        )


def check_roles(distiller):
    """Raise a `ValueError` where a role's model came too late to be trained."""
    for role in type(distiller).roles:
        late = role not in distiller.made_with and getattr(distiller, role, None) is not None
        if late and role not in distiller.roles:
            raise ValueError(
                f"The {role} of {type(distiller).__name__} would not be trained: give it to "
                f"`super().__init__(teacher, student, {role}={role})`."
            )


def check_losses(distiller, found):
    """Raise a `ValueError` where what a method returns for its roles cannot be trained by."""
    method = "joint_losses" if distiller.simultaneous else "role_losses"
    name = f"`{method}` of {type(distiller).__name__}"
    for role, pair in found.items():
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[1], dict)):
            raise ValueError(
                f"{name} must return losses (batch,) and a dict of statistics. "
                f"Received, for {role!r}: {checks.shown(pair)}"
            )
        if len(pair[0].shape) != 1:
            raise ValueError(
                f"{name} must return a loss of each example, (batch,), the mean over "
                f"its tokens. Received, for {role!r}: shape {tuple(pair[0].shape)}"
            )


def check_named(distiller, reported):
    """Raise a `ValueError` where a method reports what is not among its statistics."""
    for name in sorted(reported - {*distiller.statistics}):
        raise ValueError(
            f"`role_losses` of {type(distiller).__name__} reports {name!r}: name it in `statistics`, "
            f"which has {distiller.statistics}."
        )


def check_reported(distiller, reported):
    """Raise a `ValueError` where no role reports a statistic, which would be logged as 0."""
    updated = [role for role in distiller.roles if distiller.updates(role)]
    if len(updated) < len(type(distiller).roles):
        return  # it may be that of a role without a model, or without updates
    for name in sorted({*distiller.statistics} - reported):
        raise ValueError(
            f"No `role_losses` of {type(distiller).__name__} reports {name!r}, which its `statistics` "
            "name: report it, or leave it out."
        )


def check_absorbing(method, process):
    """Raise a `ValueError` where a method is for masked diffusion, and the process is another one."""
    if not process.absorbing:
        raise ValueError(
            f"{method} is defined for masked diffusion, where open tokens are masks. The teacher has "
            f"the process {process!r}."
        )


def check_no_noise(method, student):
    """Raise a `ValueError` where a student has a random input that its method has no use for."""
    if student.capabilities.noise:
        raise ValueError(
            f"The student has a random input, of which {method} would learn the mean alone: copy it "
            "with `teacher.copy()`."
        )


def check_same_network(student, **others):
    """Raise a `ValueError` where models whose weights are copied do not have the student's network."""
    shapes = [tuple(v.shape) for v in student.weights]
    for name, model in others.items():
        if [tuple(v.shape) for v in model.weights] != shapes:
            raise ValueError(
                f"The {name} takes on the student's weights, so it must have its network: the student "
                f"has {len(shapes)} weights, and the {name} {len(model.weights)}, of other shapes."
            )


def check_told(steps, **models):
    """Raise a `ValueError` where models for several numbers of calls are not told which."""
    for name, model in models.items():
        if Calls.of(steps).several and not model.capabilities.step_conditioning:
            raise ValueError(
                f"For several numbers of calls, steps={steps}, the {name} must be told how far a step "
                "goes: `teacher.copy(step_conditioning=True)`."
            )


def check_model(name, model, teacher):
    """Raise a `ValueError` where a model cannot take its part beside a teacher."""
    if not isinstance(model, DiffusionModel):
        raise ValueError(
            f"`{name}` must be a keras_dmmd.DiffusionModel(denoiser, process). "
            f"Received: {checks.shown(model)}"
        )
    if not model.built:
        raise ValueError(
            f"The {name} is not built: fit it, load its weights or call its "
            "`build((None, length))` first. A teacher needs trained weights."
        )
    if name != "student" and model.capabilities.noise:
        hint = " It is a student already: give the model of which it was made." * (name == "teacher")
        raise ValueError(
            f"The {name} has a random input, so its prediction is not E[x | z_t]: only a student may "
            f"have one.{hint}"
        )
    own, wanted = (m.capabilities.block_size for m in (model, teacher))
    if own != wanted:
        raise ValueError(
            f"The {name} writes blocks of {own or 'all'} tokens, but the teacher of {wanted or 'all'}."
        )
    process, wanted = model.process, teacher.process
    if process.vocabulary_size != wanted.vocabulary_size:
        raise ValueError(
            f"The {name}'s vocabulary has {process.vocabulary_size} tokens, but the teacher's "
            f"{wanted.vocabulary_size}."
        )
    own, wanted_config = (_own_settings(each.get_config()) for each in (process, wanted))
    differ = sorted(
        key for key in own.keys() | wanted_config.keys() if own.get(key) != wanted_config.get(key)
    )
    if type(process) is not type(wanted) or differ:
        raise ValueError(
            f"The {name} has the process {process!r}, but the teacher {wanted!r}"
            + (f"; they differ in {', '.join(differ)}." if differ else ".")
        )


def _own_settings(config):
    """A config without what Keras adds in a file, the identities of objects that are shared there."""
    if isinstance(config, dict):
        return {k: _own_settings(v) for k, v in config.items() if k != "shared_object_id"}
    return config


def check_teacher(teacher, target, guidance_scale):
    """Raise a `ValueError` where a teacher does not allow a choice of the method."""
    if guidance_scale is not None:
        checks.number("guidance_scale", guidance_scale, low=-float("inf"))
    if guidance_scale is not None and not teacher.capabilities.num_classes:
        raise ValueError("`guidance_scale` needs a teacher with labels: `num_classes` is not set.")
    if target == "soft" and not teacher.process.absorbing:
        raise ValueError(
            f"`target='soft'` is not sound for {type(teacher.process).__name__}: `z_s` depends on "
            "the sampled token at every position, and soft targets ignore it. Use `target='hard'`."
        )


def check_time_weighting(weighting, named):
    """Raise a `ValueError` where it is neither a name nor a function of times to weights."""
    if not callable(weighting):
        checks.choice("time_weighting", weighting, named)
        return
    try:
        found = weighting(ops.convert_to_tensor([0.25, 0.5, 1.0]))
        shape = tuple(ops.shape(found))
    except Exception as error:
        shape = f"{type(error).__name__}: {error}"
    if shape != (3,):
        raise ValueError(
            "`time_weighting` must map times (batch,) to weights (batch,). Received: "
            f"{checks.shown(weighting)}, which makes {shape} of (3,)"
        )
