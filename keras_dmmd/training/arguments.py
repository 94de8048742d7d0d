"""What Keras's methods are told beside data: checked before they begin."""

import keras

from keras_dmmd import checks

# The least that each may be. Of epochs none may be left, as after a run that is resumed at its end.
COUNTS = {
    "batch_size": 1,
    "epochs": 0,
    "initial_epoch": 0,
    "steps_per_epoch": 1,
    "steps": 1,
    "validation_steps": 1,
    "validation_batch_size": 1,
}


def check_call(call):
    """Arguments of `fit`, `evaluate`, `predict` and their like, as far as they are given.

    Raises:
        ValueError: one is not of its kind, or there are no data.
    """
    if call.get("x") is None:
        raise ValueError(
            "`x` must be ids (n, length), a dict of them, or batches of such. Received: None"
        )
    for name, least in COUNTS.items():
        if call.get(name) is not None:
            call[name] = checks.count(name, call[name], least)
    if call.get("class_weight") is not None:
        raise ValueError("`class_weight` has no meaning here: give examples a `sample_weight`.")
    if call.get("validation_split") is not None:
        checks.number("validation_split", call["validation_split"], below=1.0)
    if call.get("shuffle") is not None:
        checks.choice("shuffle", call["shuffle"], (True, False, "batch"))
    if call.get("return_dict") is not None:
        checks.flag("return_dict", call["return_dict"])
    if "verbose" in call:
        checks.verbosity(call["verbose"])
    if "validation_freq" in call:
        _check_frequency(call["validation_freq"])
    if not isinstance(call.get("callbacks"), (type(None), keras.callbacks.CallbackList)):
        given = call["callbacks"]
        given = [given] if isinstance(given, keras.callbacks.Callback) else given
        call["callbacks"] = checks.instances("callbacks", given, keras.callbacks.Callback)


def _check_frequency(epochs):
    """An epoch in so many, or the epochs themselves, as Keras has it."""
    if not isinstance(epochs, (list, tuple, set, range)):
        epochs = [epochs]
    for epoch in epochs:
        checks.count("validation_freq", epoch)


def check_optimizer(name, value):
    """A Keras optimizer, from itself, its name or its serialised form.

    Raises:
        ValueError: it is none.
    """
    try:
        found = keras.optimizers.get(value)
    except (ValueError, TypeError, KeyError):
        found = None
    if found is None:
        raise ValueError(
            f"`{name}` must be a Keras optimizer or its name. Received: {name}={checks.shown(value)}"
        )
    return found


def check_compile(call):
    """Those of `compile` that say how a step is run.

    Raises:
        ValueError: one is not of its kind.
    """
    checks.choice("jit_compile", call.get("jit_compile", "auto"), ("auto", True, False, None))
    checks.flag("run_eagerly", call.get("run_eagerly", False))
    checks.count("steps_per_execution", call.get("steps_per_execution", 1))
