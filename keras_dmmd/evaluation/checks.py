"""What can be said of a sweep before anything is sampled: each function raises a `ValueError`."""

import numpy as np

from keras_dmmd.checks import count, label
from keras_dmmd.fingerprints import weights_hash
from keras_dmmd.metrics.streaming import StreamingMetric
from keras_dmmd.training.diffusion_model import DiffusionModel


def check_models(models):
    """Where they are no dict of built models, or take the name of the data."""
    if not isinstance(models, dict) or not models:
        raise ValueError(f"`models` must be a dict of names to models. Received: {models!r}")
    for name, model in models.items():
        label("model name", name)
        if not isinstance(model, DiffusionModel) or not model.built:
            raise ValueError(f"{name!r} must be a built keras_dmmd.DiffusionModel. Received: {model!r}")
    if "data" in models:
        raise ValueError("'data' is the name of the reference data: call that model otherwise.")


def check_numbers(steps, temperatures, seeds, samples):
    """Where what is swept over is empty or repeats itself."""
    for name, values in (("steps", steps), ("seeds", seeds)):
        for value in values:
            count(name, value, least=1 if name == "steps" else -(2**63))
    for name, values in (("steps", steps), ("temperatures", temperatures), ("seeds", seeds)):
        if not len(values) or len(set(values)) < len(values):
            raise ValueError(f"`{name}` must be distinct values, not empty. Received: {values!r}")
    count("samples", samples)


def check_metrics(metrics, models):
    """Where there are none, or one judges by a model that is judged."""
    if not metrics:
        raise ValueError("`metrics` is empty: there is nothing to measure.")
    for metric in metrics:
        if not isinstance(metric, StreamingMetric):
            raise ValueError(
                "A metric must be a keras_dmmd.metrics.StreamingMetric; for a function of samples "
                f"there is SampleScore. Received: {metric!r}"
            )
        label("metric name", metric.name)
    judges = {m.name: weights_hash(m.judge) for m in metrics if m.judge is not None}
    for name, model in models.items() if judges else ():
        fingerprint = weights_hash(model)  # that of its denoiser too: a model has no weights of its own
        judge = next((judge for judge, known in judges.items() if known == fingerprint), None)
        if judge is not None:
            raise ValueError(f"{judge}: the reference is {name!r} itself, one of the models it judges.")


def check_data(models, metrics, reference_data, samples, generate):
    """Where data are too few or of another length, or an argument is not for `generate` here."""
    lengths = {generate.get("length") or model.length for model in models.values()}
    if reference_data is not None and np.shape(reference_data)[1:] not in {(k,) for k in lengths}:
        raise ValueError(
            f"`reference_data` must be ids of shape (n, {', '.join(map(str, sorted(lengths)))}), as "
            f"long as samples. Received: shape {np.shape(reference_data)}"
        )
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
    prompts = () if prompts is None or isinstance(prompts, np.ndarray) else prompts
    if any(isinstance(part, str) for prompt in prompts for part in [prompt, *prompt]):
        raise ValueError("`prompts` must be ids here: encode texts with the model's tokenizer.")


def check_channels(models, channels):
    """Where images have no such channels."""
    for name, model in models.items():
        grid = model.capabilities.grid
        if grid is not None and (channels not in (1, 3) or grid[1] % channels):
            raise ValueError(
                "`channels` must be 1 or 3, and divide the columns of a grid. Received: "
                f"channels={channels!r}, and {name!r} with grid={grid}"
            )
