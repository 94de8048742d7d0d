"""Means and their standard errors."""

import numbers

from keras_dmmd import checks


def mean_and_error(values):
    """The mean of independent values and its standard error, `nan` for a single one.

    Example:

    ```python
    kd.metrics.mean_and_error([1.0, 2.0, 3.0])  # (2.0, 0.577)
    ```
    """
    values = checks.array("values", values).astype("float64")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"`values` must have shape (n,), not empty. Received: shape {values.shape}")
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)


def ratio_and_error(values, sizes):
    """`Σ values / Σ sizes` and its standard error, for pairs that are drawn together."""
    ratio = values.sum() / sizes.sum()
    _, error = mean_and_error((values - ratio * sizes) / sizes.mean())
    return float(ratio), error


def share_and_error(count, number):
    """`count / number` and its binomial standard error; `nan` where there is nothing to count."""
    if not number:
        return float("nan"), float("nan")
    share = count / number
    return share, (share * (1.0 - share) / number) ** 0.5


def _is_nan(value):
    return isinstance(value, numbers.Real) and value != value


def with_error(mean, error):
    """`1.234 ± 0.056`, with two digits of the error; the mean alone where there is no error.

    Args:
        mean: a number, or `None`, which is an empty text.
        error: its standard error; `None` or `nan`, as of a single value, is none.

    Example:

    ```python
    kd.metrics.with_error(1.23412, 0.0564)  # "1.234 ± 0.056"
    ```
    """
    if mean is None:
        return ""
    mean, error = (
        value
        if value is None or _is_nan(value)
        else checks.number(name, value, low=-float("inf"), infinite=True)
        for name, value in (("mean", mean), ("error", error))
    )
    if error is None or _is_nan(error):
        return f"{mean:.4g}"
    if error <= 1e-12 * abs(mean) < float("inf"):  # what rounding leaves of equal values
        return f"{mean:.4g} ± 0"
    if abs(error) == float("inf"):
        return f"{mean:.4g} ± {error:g}"
    digits = max(0, 1 - int(f"{error:e}".split("e")[1]))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
