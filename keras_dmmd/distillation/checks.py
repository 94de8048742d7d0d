"""What can be said of a distiller's arguments before anything runs."""

from keras_dmmd.training.diffusion_model import DiffusionModel


def check_models(teacher, student=None, critic=None):
    """Raise a `ValueError` where models are no built `DiffusionModel`s, or do not belong together."""
    for name, model in (("teacher", teacher), ("student", student), ("critic", critic)):
        if model is not None or name == "teacher":
            check_model(name, model, teacher)
    if student is not None and (student is teacher or student is critic):
        raise ValueError("Teacher, student and critic must be three models; copy with `.copy()`.")
    for name, model in (("student", student), ("critic", critic)):
        if model is None and not teacher.denoiser.weights:
            raise ValueError(
                f"The teacher's denoiser has no weights to copy a {name} from: pass `{name}=`."
            )


def check_model(name, model, teacher):
    """Raise a `ValueError` where a model cannot take its part beside a teacher."""
    if not isinstance(model, DiffusionModel):
        raise ValueError(
            f"`{name}` must be a keras_dmmd.DiffusionModel(denoiser, process). Received: {model!r}"
        )
    if not model.built:
        raise ValueError(
            f"The {name} is not built: fit it, load its weights or call its "
            "`build((None, length))` first. A teacher needs trained weights."
        )
    if name != "student" and model.capabilities.noise:
        raise ValueError(
            f"The {name} has a random input, so its prediction is not E[x | z_t]: only a student may "
            "have one."
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
    if guidance_scale is not None and not teacher.capabilities.num_classes:
        raise ValueError("`guidance_scale` needs a teacher with labels: `num_classes` is not set.")
    if target == "soft" and not teacher.process.absorbing:
        raise ValueError(
            f"`target='soft'` is not sound for {type(teacher.process).__name__}: `z_s` depends on "
            "the sampled token at every position, and soft targets ignore it. Use `target='hard'`."
        )


def check_weights(teacher_weight, top_p, top_p_penalty, max_log_ratio):
    """Raise a `ValueError` where a number is out of its range."""
    if not (isinstance(teacher_weight, (int, float)) and teacher_weight >= 0):
        raise ValueError(
            f"`teacher_weight` must be a number of at least 0. Received: {teacher_weight!r}"
        )
    if top_p is not None and not 0 < top_p_penalty < float("inf"):
        raise ValueError(
            "`top_p_penalty` must be positive and finite: an infinite one makes gradients "
            f"explode. Received: {top_p_penalty}"
        )
    if max_log_ratio is not None and not max_log_ratio > 0:
        raise ValueError(f"`max_log_ratio` must be positive or None. Received: {max_log_ratio}")


def check_choice(name, value, accepted):
    """Raise a `ValueError` where `value` is none of those that are accepted."""
    if value not in accepted:
        raise ValueError(f"`{name}` must be one of {accepted}. Received: {name}={value!r}")
