"""Real data as tokens."""

import importlib

import numpy as np

HELD_OUT = 297


def load_digits():
    """Handwritten digits: 8×8 pixels of 17 grey levels, tokens as they stand.

    The 1,797 images of `sklearn.datasets.load_digits` (Alpaydin & Kaynak, 1998), shuffled once with a
    fixed seed; the last 297 are held out.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: ids `(n, 64)` in 0..16 and labels `(n,)`, int32.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise ImportError("load_digits needs scikit-learn: pip install scikit-learn") from error
    digits = datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    tokens = digits.data[order].astype("int32")
    labels = digits.target[order].astype("int32")
    return (tokens[:-HELD_OUT], labels[:-HELD_OUT]), (tokens[-HELD_OUT:], labels[-HELD_OUT:])
