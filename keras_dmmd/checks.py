"""What comes in from outside, checked on the host.

Every function here returns what it accepts, and raises a `ValueError` otherwise, which names the
argument and says what is accepted and what was given.
"""

import functools
import numbers
import os
import reprlib
import unicodedata

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend

# Sizes, places and ids are int32 on devices, where a larger count would wrap around.
MOST = 2**31 - 1
# A larger number is infinite once it is float32.
FINITE = float(np.finfo("float32").max)

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value):
    """What was received, as text of bounded length."""
    try:
        return _SHORT.repr(value)
    except Exception:  # of an integer of thousands of digits, or an object that is half made
        return f"an object of type {type(value).__name__}"


def integer(name, value):
    """An integer of any size and sign, as a Python int; bools and floats are none."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"`{name}` must be an integer. Received: {name}={shown(value)}")
    return int(value)


def count(name, value, least=1, most=MOST):
    """An integer of at least `least`, as a Python int; bools and floats are none."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not least <= value <= most:
        bound = f" and at most {most}" if most < MOST or (is_integer and value > most) else ""
        raise ValueError(
            f"`{name}` must be an integer of at least {least}{bound}. Received: {name}={shown(value)}"
        )
    return int(value)


def number(name, value, low=0.0, high=float("inf"), above=None, below=None, infinite=False, auto=False):
    """A number in `[low, high]`, or in `(above, high]`, `[low, below)`, as a Python float.

    It must be finite, in float32 too, unless it may be `infinite`; `auto` also accepts `"auto"`.
    """
    if auto and isinstance(value, str) and value == "auto":
        return value
    low, high = low if above is None else above, high if below is None else below
    inside = isinstance(value, numbers.Real) and not isinstance(value, bool) and low <= value <= high
    if inside:
        inside = (infinite and abs(value) == float("inf")) or abs(value) <= FINITE
        # As float32, which turns what is smaller than 1e-45 into 0.
        inside = inside and (above is None or np.float32(value) > above)
        inside = inside and (below is None or np.float32(value) < below)
    if not inside:
        is_open = below is not None or (high == float("inf") and not infinite)
        left = "(" if above is not None or low == -float("inf") else "["
        accepted = '"auto" or ' * auto + f"a number in {left}{low:g}, {high:g}{')' if is_open else ']'}"
        raise ValueError(f"`{name}` must be {accepted}. Received: {name}={shown(value)}")
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


def choice(name, value, accepted):
    """That one of a few strings, integers, bools and `None` which a value equals."""
    if value is None or isinstance(value, (str, numbers.Integral, np.bool_)):
        for one in accepted:
            if value == one:
                return one
    raise ValueError(f"`{name}` must be one of {tuple(accepted)}. Received: {name}={shown(value)}")


def flag(name, value):
    """True or false, as a bool; 1 and 0 are such, strings are not."""
    return choice(name, value, (True, False))


def verbosity(value):
    """Keras's `verbose`."""
    return choice("verbose", value, ("auto", 0, 1, 2))


def text(name, value):
    """A string of UTF-8, which has no lone surrogates."""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise ValueError(f"`{name}` must be a string. Received: {kind} {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"`{name}` must be text that UTF-8 can hold: character {error.start} is a lone "
                f"surrogate. Received: {shown(value)}"
            ) from None
    return value


def path(name, value):
    """The path of a file or folder, as a string."""
    try:
        found = os.fsdecode(value)
        os.fsencode(found)
        usable = found and "\0" not in found
    except (TypeError, UnicodeError):
        usable = False
    if not usable:
        raise ValueError(f"`{name}` must be a path. Received: {name}={shown(value)}")
    return found


def function(name, value):
    """What can be called."""
    if not callable(value):
        raise ValueError(f"`{name}` must be a function. Received: {name}={shown(value)}")
    return value


def called(name, function, ids):
    """What a function of the user's makes of ids; where it fails, the error names it."""
    try:
        return function(ids)
    except Exception as error:
        raise ValueError(
            f"`{name}` failed on ids of shape {ids.shape}: {type(error).__name__}: {str(error)[:500]}"
        ) from error


def deserialized(name, config):
    """What a serialised object of Keras stands for."""
    try:
        return keras.saving.deserialize_keras_object(config)
    except Exception as error:
        raise ValueError(f"`{name}` is serialised, and cannot be read: {error}") from error


def iterable(name, values, of):
    """What can be iterated over, but no single string, bytes or dict; `of` says what it holds."""
    try:
        iter(values)
        single = isinstance(values, (str, bytes, dict))
    except TypeError:
        single = True
    if single:
        raise ValueError(
            f"`{name}` must be a list or another iterable of {of}. Received: {name}={shown(values)}"
        )
    return values


def texts(name, values):
    """A list of strings."""
    return [text(name, value) for value in iterable(name, values, "strings")]


def several(name, values, check):
    """A list of distinct values, each of which `check(name, value)` accepts."""
    found = [check(name, value) for value in iterable(name, values, "distinct values")]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"`{name}` must be distinct values, not empty. Received: {shown(values)}")
    return found


def instances(name, values, kind, hint=""):
    """A list of objects of a class."""
    found = list(iterable(name, values, f"{kind.__name__}s"))
    wrong = [value for value in found if not isinstance(value, kind)]
    if wrong:
        raise ValueError(f"`{name}` must be {kind.__name__}s{hint}. Received: {shown(wrong[0])}")
    return found


def grid(name, value, parts=2):
    """The sizes of an image, a tuple of `parts` counts."""
    try:
        sizes = tuple(value)
        return tuple(count(name, size) for size in sizes + (None,) * (len(sizes) != parts))
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be {parts} counts (rows, columns). Received: {name}={shown(value)}"
        ) from None


@functools.cache
def _memory():
    """Bytes of memory of this machine, or infinity where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def fits(what, size):
    """Refuse what takes more bytes than this machine has memory."""
    if size > _memory():
        raise ValueError(
            f"{what} would take {size / 2**30:.4g} GiB, more than the {_memory() / 2**30:.4g} GiB of "
            "memory of this machine."
        )


def weights_fit(what, number, dtype):
    """Refuse a network whose weights fill this machine, where they would lie in its memory."""
    if backend.on_cpu():
        fits(what, number * np.dtype("float16" if "16" in dtype else "float32").itemsize)


def array(name, values):
    """A numpy array of whatever holds numbers: an array, a list, a tensor of any backend."""
    if not isinstance(values, np.ndarray):
        try:
            is_tensor = hasattr(values, "dtype") and not isinstance(values, np.generic)
            values = ops.convert_to_numpy(values) if is_tensor else np.asarray(values)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"`{name}` must be an array of numbers: {error}") from error
    if values.dtype.name == "bfloat16":  # of ml_dtypes, which numpy does not count among numbers
        values = values.astype("float32")
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"`{name}` must be an array of numbers. Received: dtype {values.dtype}, {shown(values)}"
        )
    return values


def finite(name, values, ndim=None):
    """A float64 array of finite numbers, of `ndim` dimensions."""
    values = array(name, values).astype("float64")
    if ndim is not None and values.ndim != ndim:
        raise ValueError(f"`{name}` must have {ndim} dimensions. Received: shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must be finite. Received: {shown(values)}")
    return values


def ids(name, values, size, ndim=None):
    """An array of integers from 0 to `size - 1`; of any dtype, if they are such."""
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


def rows(name, tokens, at_least=1):
    """Integers `(n, length)` of which nobody says the vocabulary, as they are."""
    tokens = array(name, tokens)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.size:
        raise ValueError(
            f"`{name}` must be ids of shape (n, length), not empty. "
            f"Received: shape {tokens.shape} of {tokens.dtype}"
        )
    if len(tokens) < at_least:
        raise ValueError(f"`{name}` must be at least {at_least}. Received: {len(tokens)}")
    return tokens


def whole(name, values):
    """An array without fractions."""
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        hint = "; quantise images first" if name == "tokens" else ""
        raise ValueError(
            f"`{name}` must be integers{hint}. Received: fractions, in an array of {values.dtype} from "
            f"{values.min()} to {values.max()}"
        )
    return values


def flags(name, values, shape):
    """An array of bools, or of zeros and ones, of this shape."""
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
    """Finite weights of `n` examples, `(n,)` or a column."""
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
