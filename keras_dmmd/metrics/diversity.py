"""How varied samples are, within a sample and between samples."""

import numpy as np

from keras_dmmd import checks
from keras_dmmd.metrics.streaming import Note, StreamingMetric
from keras_dmmd.metrics.text import row_entropies


class _OfNGrams(StreamingMetric):
    """What is measured of the runs of n tokens."""

    def __init__(self, n, name):
        self.n = checks.count("n", n)
        super().__init__(name=name)

    def check(self, samples, length, has_data):
        if length < self.n:
            raise ValueError(f"{self.name}: rows of {length} tokens have no {self.n}-grams.")

    def get_config(self):
        return {**super().get_config(), "n": self.n}

    def _ngrams(self, samples):
        """All runs of n tokens of every row, `(rows, length - n + 1, n)`."""
        tokens = checks.rows("samples", samples)
        self.check(*tokens.shape, False)
        return np.lib.stride_tricks.sliding_window_view(tokens, self.n, axis=1)


class UnigramEntropy(StreamingMetric):
    """Entropy of the tokens within a sample, in nats, at most `log(length)`.

    It stands beside every perplexity (Zheng et al., arXiv 2409.02908): a sampler that repeats itself
    lowers both.

    Example:

    ```python
    metric = kd.metrics.UnigramEntropy()
    metric.update_state(np.array([[0, 1, 2, 3], [0, 0, 0, 0]]))
    metric.result()  # {"unigram_entropy": 0.693, "unigram_entropy_error": 0.693}
    ```
    """

    note = Note("nats within a sample; as that of data is best")

    def __init__(self, name="unigram_entropy"):
        super().__init__(name=name)

    def update_state(self, samples, data=None):
        self.gather(**{self.name: row_entropies(checks.rows("samples", samples))})


class Repetition(_OfNGrams):
    """Share of the n-grams of a sample that it has had before (Welleck et al., arXiv 1908.04319).

    Args:
        n: tokens of an n-gram.

    Example:

    ```python
    metric = kd.metrics.Repetition(n=2)
    metric.update_state(np.array([[0, 1, 0, 1], [0, 1, 2, 3]]))
    metric.result()  # {"repetition_2": 0.167, "repetition_2_error": 0.167}
    ```
    """

    def __init__(self, n=4, name=None):
        super().__init__(n, f"repetition_{n}" if name is None else name)

    def update_state(self, samples, data=None):
        grams = self._ngrams(samples)
        distinct = [len(np.unique(row, axis=0)) for row in grams]
        self.gather(**{self.name: 1.0 - np.array(distinct) / grams.shape[1]})


class Diversity(_OfNGrams):
    """Distinct n-grams of all samples over their number (Li et al., arXiv 1510.03055).

    It falls with the number of samples: compare equal numbers only. It has no standard error of its
    own, being one number of all samples.

    Args:
        n: tokens of an n-gram.

    Example:

    ```python
    metric = kd.metrics.Diversity(n=2)
    metric.update_state(np.array([[0, 1, 0, 1], [0, 1, 2, 3]]))
    metric.result()  # {"diversity_2": 0.667}
    ```
    """

    def __init__(self, n=4, name=None):
        super().__init__(n, f"diversity_{n}" if name is None else name)
        self.reset_state()

    def update_state(self, samples, data=None):
        grams = self._ngrams(samples).reshape(-1, self.n)
        self._seen.update(map(bytes, np.ascontiguousarray(grams.astype("int32"))))
        self._total += len(grams)

    def result(self):
        if not self._total:
            raise ValueError(f"{self.name} has seen no samples: call `update_state` first.")
        return {self.name: len(self._seen) / self._total}

    def reset_state(self):
        self._seen, self._total = set(), 0
