import math

import numpy as np
import pytest

from keras_dmmd import metrics

pytestmark = pytest.mark.plain


def test_unigram_entropy():
    """Of one token, of four equally often, of a half and two quarters."""
    tokens = np.array([[5, 5, 5, 5], [0, 1, 2, 3], [7, 7, 0, 1]])
    mean, error = metrics.unigram_entropy(tokens)
    each = [0.0, math.log(4), 1.5 * math.log(2)]
    assert mean == pytest.approx(sum(each) / 3)
    assert error == pytest.approx(np.std(each, ddof=1) / math.sqrt(3))
    assert metrics.unigram_entropy(tokens[2:])[0] == pytest.approx(1.5 * math.log(2))
    assert math.isnan(metrics.unigram_entropy(tokens[2:])[1])
    with pytest.raises(ValueError, match=r"\(0, 4\)"):
        metrics.unigram_entropy(np.zeros((0, 4)))


def test_known_words():
    """The words at the ends, which may be cut, do not count."""
    texts = ["ent of the union is sta", "he said thq union stron", "union"]
    mean, error = metrics.known_words(texts, {"of", "the", "union", "is", "said"})
    assert mean == pytest.approx((1.0 + 2 / 3) / 2)
    assert error == pytest.approx(np.std([1.0, 2 / 3], ddof=1) / math.sqrt(2))
    with pytest.raises(ValueError, match="None of the `texts`"):
        metrics.known_words(["two words"], {"two"})
