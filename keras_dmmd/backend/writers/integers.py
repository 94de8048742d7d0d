"""Tables of weights as int8 with a scale per column, as files of several formats hold them."""

import numpy as np

# Numbers of a table; smaller ones stay as they are: little would be spared.
FEWEST = 1024


def rounded(table, columns=1):
    """`table` `(rows, columns)`, or with its columns along axis 0, as int8, and float32 scales."""
    most = np.abs(table).max(axis=1 - columns, keepdims=True)
    scales = np.maximum(most, np.float32(1e-12)) / np.float32(127.0)
    return np.rint(table / scales).astype("int8"), scales.ravel()
