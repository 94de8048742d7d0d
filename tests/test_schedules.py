import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dmmd import schedules

few = settings(max_examples=20, deadline=None, derandomize=True)
times = st.floats(0.001, 0.999)

# Each schedule beside its formula in float64.
CASES = {
    "linear": (schedules.LinearSchedule(), lambda t: 1 - t),
    "cosine": (schedules.CosineSchedule(), lambda t: math.cos(math.pi * t / 2)),
    "md4_cosine": (schedules.MD4CosineSchedule(), lambda t: 1 - math.cos(math.pi * (1 - t) / 2)),
    "polynomial": (schedules.PolynomialSchedule(), lambda t: 1 - t**2),
    "polynomial_half": (schedules.PolynomialSchedule(power=0.5), lambda t: 1 - t**0.5),
    "polynomial_three": (schedules.PolynomialSchedule(power=3), lambda t: 1 - t**3),
    "log_linear": (schedules.LogLinearSchedule(), lambda t: 1 - (1 - 1e-3) * t),
    "log_linear_tenth": (schedules.LogLinearSchedule(epsilon=0.1), lambda t: 1 - 0.9 * t),
}
every_schedule = pytest.mark.parametrize("name", CASES)


def level(schedule, t):
    alpha, derivative = schedule(ops.convert_to_tensor(np.atleast_1d(t), "float32"))
    return ops.convert_to_numpy(alpha), ops.convert_to_numpy(derivative)


@every_schedule
@given(t=times)
@few
def test_alpha_is_the_formula(name, t):
    schedule, formula = CASES[name]
    t = float(np.float32(t))
    np.testing.assert_allclose(level(schedule, t)[0], formula(t), atol=1e-6)


@every_schedule
@given(t=times)
@few
def test_derivative_is_the_slope_of_the_formula(name, t):
    schedule, formula = CASES[name]
    t, h = float(np.float32(t)), 1e-6
    slope = (formula(t + h) - formula(t - h)) / (2 * h)
    np.testing.assert_allclose(level(schedule, t)[1], slope, rtol=1e-5, atol=1e-5)


@every_schedule
@given(t=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8))
@few
def test_alpha_never_rises(name, t):
    alpha, _ = level(CASES[name][0], np.sort(np.array(t, "float32")))
    assert (np.diff(alpha) <= 0).all()


@every_schedule
@given(t=times)
@few
def test_the_derivative_is_never_positive(name, t):
    assert (level(CASES[name][0], t)[1] <= 0).all()


@every_schedule
def test_end_points(name):
    schedule, formula = CASES[name]
    alpha, _ = level(schedule, [0.0, 1.0])
    np.testing.assert_allclose(alpha, [1.0, formula(1.0)], atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_log_linear_leaves_epsilon_of_signal(epsilon):
    alpha, _ = level(schedules.LogLinearSchedule(epsilon), 1.0)
    np.testing.assert_allclose(alpha, epsilon, atol=1e-6)


@pytest.mark.parametrize("name", schedules.NAMES)
def test_get_by_name(name):
    assert type(schedules.get(name)) is schedules.NAMES[name]


def test_get_returns_an_object_and_a_function_as_they_are():
    schedule = schedules.CosineSchedule()
    assert schedules.get(schedule) is schedule
    assert schedules.get(squared) is squared


def squared(t):
    return schedules.SignalLevel(1.0 - t**2, -2.0 * t)


@pytest.mark.parametrize(
    "function",
    [
        lambda t: t,
        lambda: None,
        lambda t: schedules.SignalLevel(t, ops.ones_like(t)),  # it rises
        lambda t: schedules.SignalLevel(ops.sum(1.0 - t), -1.0),  # of another shape
        lambda t: schedules.SignalLevel(1.0 - t / 0.0, -t),
        lambda t: schedules.SignalLevel(0.97 * (1.0 - t), -0.97 * ops.ones_like(t)),  # begins too late
        lambda t: schedules.SignalLevel(1.0 - t**0.25, -0.25 * t**-0.75),  # falls before the first time
    ],
)
def test_a_function_that_is_no_schedule_is_refused(function):
    with pytest.raises(ValueError, match="`schedule` must"):
        schedules.get(function)


@every_schedule
def test_serialised_form_gives_the_same_schedule(name):
    schedule = CASES[name][0]
    again = schedules.get(keras.saving.serialize_keras_object(schedule))
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()


@pytest.mark.parametrize("name", ["exponential", "", None, 3])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="log_linear"):
        schedules.get(name)


@pytest.mark.parametrize("power", [0, -1.0, 0.25, float("nan")])
def test_power_must_leave_signal_at_the_first_time(power):
    with pytest.raises(ValueError, match="`power`"):
        schedules.PolynomialSchedule(power)


@pytest.mark.parametrize("epsilon", [-0.1, 0.2, float("nan")])
def test_epsilon_must_lie_in_its_range(epsilon):
    with pytest.raises(ValueError, match="`epsilon`"):
        schedules.LogLinearSchedule(epsilon)
