"""Weights that one thread trains are not read by another: that is said, on every backend."""

import contextlib
import threading
from typing import Any, NamedTuple

from keras_dmmd import backend


class Use(NamedTuple):
    """A call that runs: of a model, in a thread, which changes its variables or reads them."""

    model: Any
    variables: frozenset
    thread: int
    changes: bool

    def shares_with(self, other):
        return not self.variables.isdisjoint(other.variables)


_lock = threading.Lock()
_running = []


@contextlib.contextmanager
def trains(model):
    """A context in which this thread changes a model's variables.

    Raises:
        RuntimeError: another thread changes or reads some of them.
    """
    with _entered(model, changes=True):
        yield


@contextlib.contextmanager
def reads(model):
    """A context in which this thread reads a model's variables; in a callback of `fit` too.

    Raises:
        RuntimeError: another thread trains some of them.
    """
    with _entered(model, changes=False) as use:
        with _lock:
            trained = [other for other in _running if other.changes and other.thread == use.thread]
        for other in trained:
            if other.shares_with(use):
                backend.return_state(other.model)
        yield


@contextlib.contextmanager
def _entered(model, changes):
    use = Use(model, frozenset(map(id, model.variables)), threading.get_ident(), changes)
    with _lock:
        for other in _running:
            if other.thread != use.thread and (other.changes or changes) and other.shares_with(use):
                raise RuntimeError(_sentence(use, other))
        _running.append(use)
    try:
        yield use
    finally:
        with _lock:
            del _running[next(i for i, other in enumerate(_running) if other is use)]


def _sentence(use, other):
    if other.changes:
        return (
            f"{other.model.name!r} is being trained in another thread, which changes these weights: "
            "wait for that, look at them in a callback of its `fit`, or take a copy, `model.copy()`, "
            "before it begins."
        )
    return (
        f"Another thread reads weights of {use.model.name!r}, which training would change: wait for "
        "that, or train a copy, `model.copy()`."
    )
