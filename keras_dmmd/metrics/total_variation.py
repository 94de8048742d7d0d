"""Exact total variation to a distribution that can be enumerated."""

import numpy as np

from keras_dmmd import checks


def total_variation(samples, support, probabilities):
    """`1/2 Σ |p̂ - p|` between the histogram of samples and a known distribution.

    Args:
        samples: ids `(n, length)`.
        support: the sequences with mass, `(m, length)`, all different.
        probabilities: their probabilities, `(m,)`.

    Returns:
        A float in [0, 1]; samples outside the support count in full.

    Raises:
        ValueError: the support repeats itself, or the probabilities do not add up to 1.

    Example:

    ```python
    coins = np.array([[0, 0], [1, 1]])  # two coins that always agree
    samples = np.array([[0, 0], [1, 1], [0, 1], [1, 1]])
    kd.metrics.total_variation(samples, coins, probabilities=[0.5, 0.5])  # 0.25
    ```
    """
    samples, support = checks.rows("samples", samples), checks.rows("support", support)
    if samples.shape[1] != support.shape[1]:
        raise ValueError(
            "`samples` and `support` must have the same length. Received: shapes "
            f"{samples.shape} and {support.shape}"
        )
    probabilities = checks.finite("probabilities", probabilities, ndim=1)
    total, n = probabilities.sum(), len(support)
    if len(probabilities) != n or probabilities.min() < 0 or abs(total - 1) > 1e-3:
        raise ValueError(
            f"`probabilities` must be {n} numbers of at least 0 that add up to 1. Received: "
            f"{len(probabilities)} of them, in all {total:g}: {checks.shown(probabilities)}"
        )
    index = {tuple(row): i for i, row in enumerate(support.tolist())}
    if len(index) < len(support):
        raise ValueError(
            f"`support` must be different rows. Received: {len(support)}, of which {len(index)} differ"
        )
    counts = np.zeros(len(support))
    for row in samples.tolist():
        if tuple(row) in index:
            counts[index[tuple(row)]] += 1
    histogram = counts / len(samples)
    outside = 1.0 - histogram.sum()
    return float(0.5 * (np.abs(histogram - probabilities).sum() + outside))
