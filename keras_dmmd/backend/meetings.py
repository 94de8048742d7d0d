"""What processes that train together are told of each other: errors, and that one of them is gone."""

import pickle

# What stands in errors of a process whose others have ended or do not answer. The names of the engines
# do not tell: an error of memory has them, too.
LOST = (
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "Application timeout",
    "Connect timeout",
    "heartbeat",
    "UNAVAILABLE: ",
    "remote process exited",
    "communicator was aborted",
    "collective operation timeout",
)


def is_loss(error):
    """Whether an error says that another process is lost."""
    return any(sign in str(error) for sign in LOST)


def portable(error):
    """An error that can go to other processes: itself, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the class of a stranger's error raises there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def agree(function, gather_objects, is_first, only_first):
    """What `function()` returned in the first process; an error in one of them is raised in all.

    Args:
        function: is called in every process, or in the first one alone.
        gather_objects: see `keras_dmmd.backend`.
        is_first: whether this is that process.
        only_first: whether it alone calls the function.
    """
    value = error = None
    if is_first or not only_first:
        try:
            value = function()
        except Exception as raised:
            error = raised
    found = gather_objects((value if is_first else None, None if error is None else portable(error)))
    if error is not None:
        raise error
    for _, other in found:
        if other is not None:
            raise other
    return found[0][0]
