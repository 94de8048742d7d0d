"""What to measure where nobody says: the metrics that a kind of model and data allow."""

import numpy as np

from keras_dmmd import checks, metrics
from keras_dmmd.evaluation.checks import check_models


def default_metrics(models, samples, data=None, features=None, reference=None):
    """Metrics for models of one kind, and the data that are left for comparison.

    Args:
        models: a dict of names to built `DiffusionModel`s.
        samples: sequences per cell.
        data: real ids `(n, length)`, or `None` where there is a reference.
        features: `keras_dmmd.metrics.ImageFeatures`, for a Fréchet distance; they need data.
        reference: a `keras_dmmd.metrics.CausalReference` or `NGramReference`, for bits per character;
            the former also for the gradient moment, where its tokens are those of the models and there
            are data to compare with.

    Entropy, diversity and repetition alone would be won by gibberish. Without features or a reference
    an n-gram model of one half of the data judges the samples, see `keras_dmmd.metrics.NGramReference`:
    in bits per character of their texts, or per symbol where there is no tokenizer.

    Returns:
        `(metrics, reference_data)`: a list, and what `keras_dmmd.evaluate` is given.

    Raises:
        ValueError: models differ in kind, or data are missing or too few.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    models = {"student": kd.from_preset("digits_masked_student")}
    features = kd.ImageFeatures.from_preset("digits_features")
    metrics, data = kd.evaluation.default_metrics(models, 64, data=tokens, features=features)
    report = kd.evaluate(models, [2], metrics, samples=64, seeds=[0, 1], reference_data=data)
    ```
    """
    check_models(models)
    samples = checks.count("samples", samples)
    data = None if data is None else checks.rows("data", data)
    names = list(models)
    first = models[names[0]]
    other = next((name for name in names if _kind(models[name]) != _kind(first)), None)
    if other is not None:
        raise ValueError(
            f"{names[0]} and {other} differ in vocabulary, tokenizer or length: they do not compare."
        )
    if data is None and features is not None:
        raise ValueError("`features` compare with real data: give `data` too.")
    if data is None and reference is None:
        raise ValueError(
            "Without real data, or a reference model that judges texts, nothing could tell samples "
            "from gibberish: give `data` or a `reference`."
        )
    judged = reference is None or features is not None
    most = None if data is None else most_samples(len(data), features, reference)
    if data is not None and samples > most:
        raise ValueError(
            f"There are {len(data)} rows of `data`: take at most {most} samples, so that some rows "
            "stand in the place of samples."
        )
    n = min(4, first.length)
    found = [metrics.UnigramEntropy(), metrics.Diversity(n), metrics.Repetition(n)]
    if judged:
        data = np.random.default_rng(0).permutation(data)
        known, data = data[::2], data[1::2]
        if features is not None:
            found.insert(0, metrics.FrechetDistance(features, known))
        else:
            found.insert(0, _judge_of(known, first.tokenizer))
    if reference is not None:
        if first.tokenizer is None:
            raise ValueError(f"A reference judges texts, but {names[0]} has no tokenizer.")
        found.insert(0, metrics.BitsPerCharacter(reference, first.tokenizer))
        network = isinstance(reference, metrics.CausalReference)
        same_ids = network and reference.tokenizer.get_config() == first.tokenizer.get_config()
        if same_ids and data is not None and samples % 2 == 0:
            found.append(metrics.GradientMoment(reference))
    return found, data


def most_samples(rows, features=None, reference=None):
    """The most samples per cell that so many rows of data allow `default_metrics`."""
    # One half stands in the place of samples; what compares with data takes another one.
    return rows // (4 if reference is None or features is not None else 2)


def _judge_of(rows, tokenizer):
    """Bits under a model of these rows: of their texts, or of the ids as they are."""
    if tokenizer is None:
        return metrics.BitsPerCharacter(metrics.NGramReference(rows), name="bits_per_symbol")
    return metrics.BitsPerCharacter(metrics.NGramReference(tokenizer.decode(rows)), tokenizer)


def _kind(model):
    """What two models must share to be judged alike."""
    tokenizer = model.tokenizer and model.tokenizer.get_config()
    return model.process.vocabulary_size, model.length, tokenizer
