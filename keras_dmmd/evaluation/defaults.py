"""What to measure where nobody says: the metrics that a kind of model and data allow."""

import numpy as np

from keras_dmmd import checks, metrics
from keras_dmmd.evaluation.checks import check_models


def default_metrics(models, samples, data=None, features=None, reference=None):
    """Metrics for models of one kind, and the data that are left for comparison.

    Args:
        models: a dict of names to built `DiffusionModel`s.
        samples: sequences per cell.
        data: real ids `(n, length)`, or `None`.
        features: `keras_dmmd.metrics.ImageFeatures`, for a Fréchet distance; they need data.
        reference: a `keras_dmmd.metrics.CausalReference`, for bits per character, and for the gradient
            moment where its tokens are those of the models and there are data to compare with.

    Returns:
        `(metrics, reference_data)`: a list, and what `keras_dmmd.evaluate` is given.

    Raises:
        ValueError: models differ in kind, or data are missing or too few.
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
    # One half stands in the place of samples; features take another one to compare with.
    parts = 4 if features is not None else 2
    if data is not None and len(data) < parts * samples:
        raise ValueError(
            f"There are {len(data)} rows of `data`: take at most {len(data) // parts} samples, so that "
            "some rows stand in the place of samples."
        )
    found = [metrics.UnigramEntropy(), metrics.Diversity(), metrics.Repetition()]
    if features is not None:
        if data is None:
            raise ValueError("`features` compare with real data: give `data` too.")
        data = np.random.default_rng(0).permutation(data)
        known, data = data[::2], data[1::2]
        found.insert(0, metrics.FrechetDistance(features, known))
    if reference is not None:
        if first.tokenizer is None:
            raise ValueError(f"A reference judges texts, but {names[0]} has no tokenizer.")
        found.insert(0, metrics.BitsPerCharacter(reference, first.tokenizer))
        same_ids = reference.tokenizer.get_config() == first.tokenizer.get_config()
        if same_ids and data is not None and samples % 2 == 0:
            found.append(metrics.GradientMoment(reference))
    return found, data


def _kind(model):
    """What two models must share to be judged alike."""
    tokenizer = model.tokenizer and model.tokenizer.get_config()
    return model.process.vocabulary_size, model.length, tokenizer
