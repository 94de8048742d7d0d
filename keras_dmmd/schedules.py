"""Noise schedules: the signal level α and its time derivative α'.

Time runs from 0, clean, where α = 1, to 1, pure noise, where α = 0; α never rises.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dmmd import checks

# Weights and posteriors have poles at the ends of time: training times stay this far inside.
TIME_EPSILON = 1e-4
STEP = 1e-3  # of the finite difference by which a derivative is checked
# Between the times at which a piece may end.
CHECKED = np.array([0.237, 0.491, 0.763], "float32")
LEAST_AT_FIRST = 0.999  # what is lost at t = 0 no sampler brings back, and no bound counts
LEAST_EARLY = 0.98  # at the earliest training time: what is lost before that no bound counts, either
# The signal that may be left at the end: `log_linear` leaves 0.001. A bound leaves it out.
MOST_LEFT = 0.1


class SignalLevel(NamedTuple):
    """What a schedule says of a time.

    Attributes:
        alpha: the probability that a token is still clean, same shape as `t`.
        derivative: dα/dt, same shape, never positive.

    Example:

    ```python
    level = kd.schedules.get("linear")(keras.ops.convert_to_tensor([0.0, 0.25]))
    level.alpha, level.derivative  # [1.0, 0.75], [-1.0, -1.0]
    ```
    """

    alpha: Any
    derivative: Any


class Schedule:
    """Base class: implement `__call__(t) -> SignalLevel` and, with arguments, `get_config`.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class SquareRoot(kd.schedules.Schedule):
        '''α = (1 - t)^½.'''

        def __call__(self, t):
            alpha = keras.ops.sqrt(1.0 - t)
            return kd.schedules.SignalLevel(alpha, -0.5 / keras.ops.maximum(alpha, 1e-3))

    process = kd.MaskedDiffusion(17, schedule=SquareRoot())
    ```
    """

    def __call__(self, t):
        raise NotImplementedError

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("keras_dmmd")
class LinearSchedule(Schedule):
    """α = 1 - t (MDLM, arXiv 2406.07524; MD4, arXiv 2406.04329).

    Example:

    ```python
    kd.schedules.LinearSchedule()(keras.ops.convert_to_tensor(0.25)).alpha  # 0.75
    process = kd.MaskedDiffusion(17, schedule="linear")
    ```
    """

    def __call__(self, t):
        return SignalLevel(1.0 - t, -ops.ones_like(t))


@keras.saving.register_keras_serializable("keras_dmmd")
class CosineSchedule(Schedule):
    """α = cos(πt/2).

    Example:

    ```python
    kd.schedules.CosineSchedule()(keras.ops.convert_to_tensor(0.5)).alpha  # 0.707
    process = kd.MaskedDiffusion(17, schedule="cosine")
    ```
    """

    def __call__(self, t):
        angle = t * (math.pi / 2)
        return SignalLevel(ops.cos(angle), -(math.pi / 2) * ops.sin(angle))


@keras.saving.register_keras_serializable("keras_dmmd")
class MD4CosineSchedule(Schedule):
    """α = 1 - cos(π(1 - t)/2), which reveals few tokens at first (MD4, arXiv 2406.04329).

    Example:

    ```python
    kd.schedules.MD4CosineSchedule()(keras.ops.convert_to_tensor(0.5)).alpha  # 0.293
    process = kd.MaskedDiffusion(17, schedule="md4_cosine")
    ```
    """

    def __call__(self, t):
        angle = (1.0 - t) * (math.pi / 2)
        return SignalLevel(1.0 - ops.cos(angle), -(math.pi / 2) * ops.sin(angle))


@keras.saving.register_keras_serializable("keras_dmmd")
class PolynomialSchedule(Schedule):
    """α = 1 - t^p (MD4, arXiv 2406.04329).

    Args:
        power: p, at least 0.5: with less, much of the signal is lost before the earliest training time.

    Example:

    ```python
    kd.schedules.PolynomialSchedule(power=3.0)(keras.ops.convert_to_tensor(0.5)).alpha  # 0.875
    process = kd.MaskedDiffusion(17, schedule=kd.schedules.PolynomialSchedule(power=3.0))
    ```
    """

    def __init__(self, power=2.0):
        self.power = checks.number("power", power, low=0.5)

    def __call__(self, t):
        return SignalLevel(1.0 - t**self.power, -self.power * t ** (self.power - 1.0))

    def get_config(self):
        return {"power": self.power}


@keras.saving.register_keras_serializable("keras_dmmd")
class LogLinearSchedule(Schedule):
    """α = 1 - (1 - ε)t: linear, with a trace of signal left at t = 1 (MDLM, arXiv 2406.07524).

    Args:
        epsilon: ε in [0, 0.1].

    Example:

    ```python
    kd.schedules.LogLinearSchedule(epsilon=0.01)(keras.ops.convert_to_tensor(1.0)).alpha  # 0.01
    process = kd.MaskedDiffusion(17, schedule="log_linear")
    ```
    """

    def __init__(self, epsilon=1e-3):
        self.epsilon = checks.number("epsilon", epsilon, high=MOST_LEFT)

    def __call__(self, t):
        slope = 1.0 - self.epsilon
        return SignalLevel(1.0 - slope * t, -slope * ops.ones_like(t))

    def get_config(self):
        return {"epsilon": self.epsilon}


NAMES = {
    "linear": LinearSchedule,
    "cosine": CosineSchedule,
    "md4_cosine": MD4CosineSchedule,
    "polynomial": PolynomialSchedule,
    "log_linear": LogLinearSchedule,
}


def name_of(schedule):
    """The name of a schedule's class with its arguments, or of a function.

    Example:

    ```python
    kd.schedules.name_of(kd.schedules.get("polynomial"))  # "PolynomialSchedule(power=2.0)"
    ```
    """
    config = schedule.get_config() if isinstance(schedule, Schedule) else {}
    arguments = ", ".join(f"{name}={value!r}" for name, value in config.items())
    name = getattr(schedule, "__name__", type(schedule).__name__)
    return f"{name}({arguments})" if arguments else name


def get(schedule):
    """A schedule from its name, from its serialised form, or itself.

    Args:
        schedule: one of `"linear"`, `"cosine"`, `"md4_cosine"`, `"polynomial"`, `"log_linear"`; a
            dict made by `keras.saving.serialize_keras_object`; or a callable `t -> SignalLevel`.

    Raises:
        ValueError: it is none of these, or its signal is no probability that falls.

    Example:

    ```python
    schedule = kd.schedules.get("cosine")
    schedule(keras.ops.convert_to_tensor(1.0)).alpha  # 0.0
    ```
    """
    found = schedule
    if isinstance(schedule, str) and schedule in NAMES:
        return NAMES[schedule]()
    if isinstance(schedule, dict) and "class_name" in schedule:
        found = checks.deserialized("schedule", schedule)
    if not callable(found) or isinstance(found, type):
        raise ValueError(
            f"`schedule` must be one of {sorted(NAMES)} or a keras_dmmd.schedules.Schedule. "
            f"Received: schedule={checks.shown(schedule)}"
        )
    if type(found) not in NAMES.values():
        _check(found)
    return found


def _check(schedule):
    """Ask a function that is not of this library for the signal of some times."""
    times = np.linspace(0.0, 1.0, 5, dtype="float32")
    try:
        alpha, slope = _values(schedule, times)
        later, earlier = (_values(schedule, CHECKED + step)[0] for step in (STEP, -STEP))
        inner = _values(schedule, CHECKED)[1]
        early = _values(schedule, np.full(1, TIME_EPSILON, "float32"))[0]
    except Exception as error:
        raise ValueError(
            "`schedule` must map times (batch,) to a keras_dmmd.schedules.SignalLevel. Received: "
            f"schedule={checks.shown(schedule)}, which raised {type(error).__name__}: {error}"
        ) from error
    near = alpha.shape == slope.shape == (5,) and (alpha > -1e-3).all() and (alpha < 1.001).all()
    near = near and alpha[0] > LEAST_AT_FIRST and alpha[-1] < MOST_LEFT
    if not near or not (np.diff(alpha) < 1e-3).all() or not (slope[1:] < 1e-3).all():
        raise ValueError(
            "`schedule` must fall from 1 to 0, α and its derivative of the shape of its times; above "
            f"{LEAST_AT_FIRST} at t=0 and below {MOST_LEFT} at t=1 will do. "
            f"Received: schedule={checks.shown(schedule)}, which gives alpha={alpha} and "
            f"derivative={slope} at t=0, 1/4, … 1"
        )
    if not early > LEAST_EARLY:
        raise ValueError(
            f"`schedule` must have α above {LEAST_EARLY} at t={TIME_EPSILON:g}, the earliest training "
            "time: what is lost before that is missing in bounds. Received: "
            f"schedule={checks.shown(schedule)}, which gives alpha={early[0]} there"
        )
    found = (later - earlier) / (2 * STEP)
    if (np.abs(inner - found) > 0.02 * np.maximum(1.0, np.abs(found))).any():
        raise ValueError(
            "`schedule` must give the derivative of its α: bounds are weighed by it. Received: "
            f"schedule={checks.shown(schedule)}, which gives derivative={inner} at t={CHECKED}, "
            f"where that is {found}"
        )


def _values(schedule, times):
    level = schedule(ops.convert_to_tensor(times))
    return tuple(ops.convert_to_numpy(part) for part in (level.alpha, level.derivative))
