"""Exact total variation to a distribution that can be enumerated."""

import numpy as np


def total_variation(samples, support, probabilities):
    """`1/2 Σ |p̂ - p|` between the histogram of samples and a known distribution.

    Args:
        samples: ids `(n, length)`.
        support: the sequences with mass, `(m, length)`, all different.
        probabilities: their probabilities, `(m,)`.

    Returns:
        A float in [0, 1]; samples outside the support count in full.
    """
    samples, support = np.asarray(samples), np.asarray(support)
    if len(samples) == 0:
        raise ValueError("`samples` is empty: there is no histogram to compare.")
    if samples.shape[1:] != support.shape[1:]:
        raise ValueError(
            "`samples` and `support` must have the same length. Received: shapes "
            f"{samples.shape} and {support.shape}"
        )
    index = {tuple(row): i for i, row in enumerate(support.tolist())}
    counts = np.zeros(len(support))
    for row in samples.tolist():
        if tuple(row) in index:
            counts[index[tuple(row)]] += 1
    histogram = counts / len(samples)
    outside = 1.0 - histogram.sum()
    return float(0.5 * (np.abs(histogram - np.asarray(probabilities)).sum() + outside))
