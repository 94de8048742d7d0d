"""What can be said of a sweep before anything is sampled: each function raises an error."""

import inspect
import itertools
import warnings

import numpy as np

from keras_dmmd import checks
from keras_dmmd.evaluation.report import OWN
from keras_dmmd.fingerprints import weights_hash
from keras_dmmd.metrics.streaming import StreamingMetric
from keras_dmmd.sampling.prompts import has_text
from keras_dmmd.training.diffusion_model import DiffusionModel


def check_models(models):
    """Where they are no dict of built models, or take the name of the data."""
    if not isinstance(models, dict) or not models:
        raise ValueError(
            f"`models` must be a dict of names to models. Received: {checks.shown(models)}"
        )
    for name, model in models.items():
        checks.label("models", name)
        if not isinstance(model, DiffusionModel) or not model.built:
            raise ValueError(
                f"`models` must be built keras_dmmd.DiffusionModels. Received: {name!r}: "
                f"{checks.shown(model)}"
            )
    if "data" in models:
        raise ValueError("'data' is the name of the reference data: call that model otherwise.")


def check_numbers(steps, temperatures, seeds, samples):
    """Where what is swept over is empty, repeats itself or is out of range; returns it as lists."""
    checks.count("samples", samples)
    return (
        checks.several("steps", steps, checks.count),
        checks.several("temperatures", temperatures, checks.number),
        checks.several("seeds", seeds, checks.integer),
    )


def check_metrics(metrics, models):
    """Where there are none, their names will not do, or one judges itself; returns them as a list."""
    hint = "; for a function of samples there is SampleScore"
    metrics = checks.instances("metrics", metrics, StreamingMetric, hint)
    if not metrics:
        raise ValueError("`metrics` is empty: there is nothing to measure.")
    for metric in metrics:
        checks.label("metric name", metric.name)
        check_figures([metric.name, *metric.notes()])
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1 or f"{name}_error" in names:
            raise ValueError(f"Two metrics give a figure {name!r}, or its error: name them apart.")
    judges = {m.name: weights_hash(m.judge) for m in metrics if m.judge is not None}
    for name, model in models.items() if judges else ():
        fingerprint = weights_hash(model)  # that of its denoiser too: a model has no weights of its own
        judge = next((judge for judge, known in judges.items() if known == fingerprint), None)
        if judge is not None:
            raise ValueError(f"{judge}: the reference is {name!r} itself, one of the models it judges.")
    return metrics


def check_figures(names):
    """Where a figure has the name of something else that stands in a row of a report."""
    taken = [name for name in names if name in OWN]
    if taken:
        raise ValueError(
            f"A figure must not have one of the names {', '.join(OWN)}, which stand in every row of a "
            f"report. Received: {taken[0]!r}"
        )


def check_data(models, metrics, reference_data, samples, generate):
    """Where data are too few or of another length, or an argument is not for `generate` here."""
    length = generate.get("length")
    if length is not None:
        checks.count("length", length)
    lengths = {model.length if length is None else length for model in models.values()}
    if reference_data is not None:
        shape = checks.rows("reference_data", reference_data).shape
        if shape[1:] not in {(k,) for k in lengths}:
            raise ValueError(
                f"`reference_data` must be ids of shape (n, {', '.join(map(str, sorted(lengths)))}), "
                f"as long as samples. Received: shape {shape}"
            )
        for model in models.values():
            checks.ids("reference_data", reference_data, model.process.vocabulary_size)
    for metric in metrics:
        metric.check(samples, min(lengths), reference_data is not None)
    if reference_data is not None and len(reference_data) < 2 * samples:
        raise ValueError(
            f"`reference_data` must be at least twice `samples`, {2 * samples}: one half stands in the "
            f"place of samples. Received: {len(reference_data)}"
        )
    not_here = ("n", "steps", "seed", "temperature", "sampler", "trajectory", "verbose")
    own = sorted({*not_here, "return_calls", "return_entropies"} & set(generate))
    if own:
        raise ValueError(
            f"{own} are not for `generate` here: a sweep has `steps`, `seeds`, `samplers` and "
            "`temperatures`."
        )
    prompts = generate.get("prompts")
    prompts = prompts if isinstance(prompts, (list, tuple)) else ()
    if any(has_text(prompt) for prompt in prompts):
        raise ValueError("`prompts` must be ids here: encode texts with the model's tokenizer.")


def check_generate(models, samplers, steps, samples, generate):
    """Where `generate` would refuse an argument in some cell: an error or a warning of its own."""
    signature = inspect.signature(DiffusionModel.generate)
    for model in models.values():
        for sampler, number in itertools.product(samplers.values(), steps):
            options = {**generate, "n": samples, "steps": number, "sampler": sampler}
            bound = signature.bind(model, **options)
            bound.apply_defaults()
            asked = {k: v for k, v in bound.arguments.items() if k not in ("self", "seed")}
            model._asked(**asked)


def data_of_classes(reference_data, reference_labels, labels):
    """The rows of real data that are of the classes of samples, as far as it is said which they are.

    Warns where nobody says.

    Args:
        reference_data: ids `(n, length)`, or `None`.
        reference_labels: their classes `(n,)`, or `None`.
        labels: of samples, one or several, or `None`.
    """
    if reference_labels is not None and (reference_data is None or labels is None):
        raise ValueError("`reference_labels` choose the `reference_data` of the classes of `labels`.")
    if reference_data is None or labels is None:
        return reference_data
    reference_data = checks.rows("reference_data", reference_data)
    wanted = np.unique(checks.whole("labels", checks.array("labels", labels)))
    if reference_labels is None:
        warnings.warn(
            f"Samples are of class {', '.join(map(str, wanted))}, as `labels` says; against "
            "`reference_data` of other classes figures mean nothing. Give the classes of its rows as "
            "`reference_labels`, and those of others are left out.",
            stacklevel=3,
        )
        return reference_data
    reference_labels = checks.whole(
        "reference_labels", checks.array("reference_labels", reference_labels)
    )
    if reference_labels.shape != (len(reference_data),):
        raise ValueError(
            f"`reference_labels` must have shape ({len(reference_data)},), one per row of "
            f"`reference_data`. Received: shape {reference_labels.shape}"
        )
    chosen = np.isin(reference_labels, wanted)
    if not chosen.any():
        raise ValueError(f"No row of `reference_data` is of class {', '.join(map(str, wanted))}.")
    return reference_data[chosen]


def check_channels(models, channels):
    """Where images have no such channels."""
    for name, model in models.items():
        grid = model.capabilities.grid
        if grid is not None and (channels not in (1, 3) or grid[1] % channels):
            raise ValueError(
                "`channels` must be 1 or 3, and divide the columns of a grid. Received: "
                f"channels={channels!r}, and {name!r} with grid={grid}"
            )


def check_page(folder, shown, title):
    """Where what is written at the end could not be; returns the folder as a string."""
    checks.count("shown", shown, least=0)
    checks.text("title", title)
    return None if folder is None else checks.path("folder", folder)
