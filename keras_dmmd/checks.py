"""What comes in from outside, checked on the host; an error says what was given, what is accepted."""

import numbers
import unicodedata

import numpy as np
from keras import ops


def count(name, value, least=1):
    """An integer of at least `least`, as a Python int; bools and floats are none.

    Raises:
        ValueError: it is another thing.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not is_integer or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}")
    return int(value)


def grid(name, value):
    """Rows and columns, a tuple of two integers of at least 1.

    Raises:
        ValueError: it is another thing.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"`{name}` must be (rows, columns). Received: {name}={value!r}")
    return tuple(count(name, size) for size in value)


def number(name, value, low=0.0, high=float("inf"), above=None):
    """A finite number in `[low, high]`, or in `(above, high]`, as a Python float.

    Raises:
        ValueError: it is another thing.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    inside = is_number and np.isfinite(value) and low <= value <= high
    if not inside or (above is not None and not value > above):
        floor = f"[{low:g}" if above is None else f"({above:g}"
        accepted = f"a number in {floor}, {high:g}{']' if np.isfinite(high) else ')'}"
        raise ValueError(f"`{name}` must be {accepted}. Received: {name}={value!r}")
    return float(value)


def label(name, value):
    """A string that can stand in a table, a file, a chart and a page.

    Raises:
        ValueError: it is no string, or has control characters or lone surrogates.
    """
    if not isinstance(value, str) or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise ValueError(
            f"`{name}` must be a string without control characters or lone surrogates. "
            f"Received: {name}={value!r}"
        )
    return value


def array(name, values):
    """A numpy array of whatever holds numbers: an array, a list, a tensor of any backend.

    Raises:
        ValueError: it is ragged, or holds other things than numbers.
    """
    if not isinstance(values, np.ndarray):
        try:
            is_tensor = hasattr(values, "dtype") and not isinstance(values, np.generic)
            values = ops.convert_to_numpy(values) if is_tensor else np.asarray(values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"`{name}` must be an array of numbers: {error}") from error
    if values.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must be an array of numbers. Received: dtype {values.dtype}")
    return values


def ids(name, values, size, ndim=None):
    """An array of integers from 0 to `size - 1`; of any dtype, if they are such.

    Raises:
        ValueError: it has another number of dimensions, fractions, or values out of range.
    """
    values = array(name, values)
    if ndim is not None and values.ndim != ndim:
        shape = {1: "(n,)", 2: "(n, length)"}[ndim]
        hint = ": flatten images to one row each" if ndim == 2 and values.ndim > 2 else ""
        raise ValueError(f"`{name}` must have shape {shape}{hint}. Received: shape {values.shape}")
    if values.size == 0:
        return values
    low, high = values.min(), values.max()
    if not (0 <= low and high < size):  # NaN is caught, too
        raise ValueError(
            f"`{name}` must be ids from 0 to {size - 1}. Received: values from {low} to {high}"
        )
    return whole(name, values)


def whole(name, values):
    """An array without fractions.

    Raises:
        ValueError: it has some.
    """
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        raise ValueError(
            f"`{name}` must be integers; quantise images first. Received: fractions, in an array of "
            f"{values.dtype} from {values.min()} to {values.max()}"
        )
    return values


def flags(name, values, shape):
    """An array of bools, or of zeros and ones, of this shape.

    Raises:
        ValueError: it is another one.
    """
    values = array(name, values)
    if values.shape != tuple(shape):
        raise ValueError(f"`{name}` must have shape {tuple(shape)}. Received: shape {values.shape}")
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"`{name}` must be bools, or zeros and ones. Received: {values.dtype} from "
            f"{values.min()} to {values.max()}"
        )
    return values


def weights(values, n):
    """Finite weights of `n` examples, `(n,)` or a column.

    Raises:
        ValueError: they are others.
    """
    values = array("sample_weight", values)
    if values.shape not in ((n,), (n, 1)):
        raise ValueError(
            f"`sample_weight` must be one weight per example, shape ({n},). "
            f"Received: shape {values.shape}"
        )
    if not np.isfinite(values).all():
        wrong = int(np.argmin(np.isfinite(values).reshape(-1)))
        raise ValueError(
            f"`sample_weight` must be finite. Received: {values.reshape(-1)[wrong]} at index {wrong}"
        )
    return values
