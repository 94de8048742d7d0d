"""Whether an object's config tells all that it was made with."""

import inspect

# Of every Keras layer, which writes them down by itself.
KERAS_ARGUMENTS = {"name", "dtype", "trainable", "autocast", "activity_regularizer"}
LIBRARIES = ("keras", "keras_dmmd", "keras_hub")


def check_config(name, value, *bases):
    """Refuse an object whose `get_config` leaves out an argument that it was given.

    Copies (students, critics), files and compiled steps are made of configs: what is left out would be
    the default there, without a word. So an argument that still has its default may be left out. A
    class with a `from_config` of its own is believed.

    Args:
        name: of the argument, for the error.
        value: a Keras layer, a process, a sampler or a distiller.
        *bases: classes whose `from_config` gives the config to the constructor.

    Raises:
        ValueError: the config leaves out an argument.
    """
    cls = type(value)
    maker = next(each for each in cls.__mro__ if "__init__" in vars(each))
    read, *known = (getattr(each.from_config, "__func__", None) for each in (cls, *bases))
    if maker.__module__.partition(".")[0] in LIBRARIES or read not in known:
        return
    try:
        config = value.get_config()
    except Exception:  # what cannot be written down cannot be copied or saved at all, and says so there
        return
    missing = [
        argument.name
        for argument in list(inspect.signature(cls.__init__).parameters.values())[1:]
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY)
        and argument.name not in KERAS_ARGUMENTS | config.keys()
        and not _has_default(value, argument)
    ]
    if missing:
        raise ValueError(
            f"`{name}` is copied, saved and compiled by its config, but `get_config` of {cls.__name__} "
            f"leaves out {', '.join(missing)}: return all arguments of its constructor there."
        )


def _has_default(value, argument):
    """Whether an object has what it would have without this argument, as far as it shows."""
    if argument.default is argument.empty:
        return False
    found = getattr(value, argument.name, argument.default)
    return found is argument.default or repr(found) == repr(argument.default)
