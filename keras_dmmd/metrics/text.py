"""Text: how varied each sample is, and whether its words exist."""

import numpy as np

from keras_dmmd import checks
from keras_dmmd.metrics.statistics import mean_and_error


def unigram_entropy(tokens):
    """Entropy of the tokens of a sample, in nats, the mean over samples and its standard error.

    A sampler that repeats itself has little of it, however good a reference model finds its text: so it
    stands beside every perplexity (Zheng et al., arXiv 2409.02908).

    Args:
        tokens: ids `(n, length)`.

    Returns:
        `(mean, error)`, at most `log(length)`.

    Example:

    ```python
    kd.metrics.unigram_entropy(np.array([[0, 1, 2, 3], [0, 0, 0, 0]]))  # (0.693, 0.693)
    ```
    """
    return mean_and_error(row_entropies(checks.rows("tokens", tokens)))


def row_entropies(tokens):
    """Entropy of the tokens of each row of ids `(n, length)`, in nats, float64 `(n,)`."""
    entropies = []
    for row in tokens:
        share = np.unique(row, return_counts=True)[1] / len(row)
        entropies.append(-(share * np.log(share)).sum())
    return np.array(entropies)


def known_words(texts, vocabulary):
    """Share of the words of a text that a vocabulary has, the mean over texts and its standard error.

    Words are what spaces divide. The first and the last word of a text, which its ends may have cut, do
    not count, so texts need at least three.

    Args:
        texts: strings.
        vocabulary: a set of words, such as those of the training texts.

    Returns:
        `(mean, error)`.

    Raises:
        ValueError: no text has three words.

    Example:

    ```python
    words = {"of", "the", "people", "by"}
    kd.metrics.known_words(["of the people by teh people"], words)  # (0.75, nan)
    ```
    """
    if not isinstance(vocabulary, (set, frozenset)):
        vocabulary = set(checks.texts("vocabulary", vocabulary))
    shares = []
    for text in checks.texts("texts", texts):
        words = text.split()[1:-1]
        if words:
            shares.append(np.mean([word in vocabulary for word in words]))
    if not shares:
        raise ValueError("None of the `texts` has three words.")
    return mean_and_error(np.array(shares))
