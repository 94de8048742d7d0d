"""Samplers against the number of network calls and the temperature: one call, figures with errors."""

import json
import time

import keras
import numpy as np

from keras_dmmd.evaluation.cells import Cells
from keras_dmmd.evaluation.entropies import StepEntropies
from keras_dmmd.evaluation.machine import machine
from keras_dmmd.evaluation.report import Report, base_temperature
from keras_dmmd.metrics.streaming import array_hash, ask, weights_hash
from keras_dmmd.metrics.text import mean_and_error
from keras_dmmd.optional import package
from keras_dmmd.training.diffusion_model import DiffusionModel


def evaluate(
    models,
    steps,
    metrics,
    temperatures=(1.0,),
    reference_data=None,
    samples=1000,
    seeds=(0, 1, 2),
    folder=None,
    shown=16,
    channels=1,
    title="Samplers",
    verbose="auto",
    **generate,
):
    """Sweep models over network calls and temperatures.

    Every cell, one model, number of calls, temperature and seed, draws `samples` sequences and asks
    every metric. The standard error of a figure is that of its mean over seeds. The same arguments give
    the same samples again.

    Args:
        models: a dict of names to built `DiffusionModel`s, teachers and students.
        steps: numbers of network calls a sample (of a model of blocks: a block).
        metrics: a list of `keras_dmmd.metrics.StreamingMetric`s: objects with `name`, `reset_state()`,
            `update_state(samples, data)` and `result() -> dict`, where a name that ends in `_error` is
            the standard error of the one without.
        temperatures: of the predictions.
        reference_data: real ids `(n, length)`, at least twice as many as samples: given to every metric
            beside the samples, in the same number, and measured like a model under the name `"data"`,
            one part of them against another. A metric with data of its own should have others.
        samples: sequences a cell.
        seeds: integers, a set of samples each.
        folder: where to write `report.json`, `report.csv`, `report.html` and every finished cell, so
            that the same call goes on where it was interrupted. `None` writes nothing.
        shown: samples of a cell that the report shows, of the first seed.
        channels: of images, whose tokens are then their values, channel innermost: 3 shows colours.
        title: of the report.
        verbose: Keras's progress bar: 0, 1, or `"auto"`, which is 1.
        **generate: further arguments of `DiffusionModel.generate`, as `top_p`, `length`, `labels`.

    Returns:
        A `Report`.

    Raises:
        ValueError: something is missing or has the wrong form, or the folder holds another sweep.
    """
    _check(models, steps, metrics, temperatures, samples, seeds, reference_data, generate)
    _check_channels(models, channels)
    if folder is not None:
        package("matplotlib", "The page of a report", "matplotlib")  # now, not after hours
    settings = {
        "models": {name: _model_mark(model) for name, model in models.items()},
        "steps": list(map(int, steps)),
        "temperatures": list(map(float, temperatures)),
        "metrics": [_describe(metric) for metric in metrics],
        "metric_marks": [_mark(metric) for metric in metrics],
        "samples": int(samples),
        "shown": int(shown),
        "seeds": list(map(int, seeds)),
        "data": None if reference_data is None else array_hash(reference_data),
        "generate": {name: _plain(value) for name, value in generate.items()},
        "machine": machine(),
    }
    settings = json.loads(json.dumps(settings))  # as a file will give it back
    base = base_temperature(settings["temperatures"])
    cells = Cells(folder, settings)
    plan = [
        (name, int(k), float(temperature), int(seed))
        for seed in seeds  # a first column of figures soon, then their errors
        for temperature in temperatures
        for k in steps
        for name in models
    ]
    bar = keras.utils.Progbar(len(plan), unit_name="cell") if verbose else None
    measure = _Measurement(models, metrics, reference_data, samples, seeds, shown, base, generate)
    found = {}
    if reference_data is not None:
        for seed in seeds:
            found["data", 0, 1.0, seed] = cells.get(("data", seed), lambda s=seed: measure.of_data(s))
    for i, cell in enumerate(plan):
        found[cell] = cells.get(cell, lambda cell=cell: measure.of_model(*cell))
        if bar:
            bar.update(i + 1)
    made_on = settings.pop("machine")
    settings["networks"] = {name: _describe_model(model) for name, model in models.items()}
    browser = _browser(found, models, seeds[0], base, channels)
    report = Report(title, settings, made_on, _rows(found), browser)
    if folder is not None:
        report.save(folder)
    return report


def _check(models, steps, metrics, temperatures, samples, seeds, reference_data, generate):
    if not isinstance(models, dict) or not models:
        raise ValueError(f"`models` must be a dict of names to models. Received: {models!r}")
    for name, model in models.items():
        if not isinstance(model, DiffusionModel) or not model.built:
            raise ValueError(f"{name!r} must be a built keras_dmmd.DiffusionModel. Received: {model!r}")
    if "data" in models:
        raise ValueError("'data' is the name of the reference data: call that model otherwise.")
    for name, values in (("steps", steps), ("temperatures", temperatures), ("seeds", seeds)):
        if not len(values) or len(set(values)) < len(values):
            raise ValueError(f"`{name}` must be distinct values, not empty. Received: {values!r}")
    if not metrics:
        raise ValueError("`metrics` is empty: there is nothing to measure.")
    for metric in metrics:
        if not all(hasattr(metric, part) for part in ("name", "update_state", "result", "reset_state")):
            raise ValueError(
                "A metric needs `name`, `update_state`, `result` and `reset_state`. "
                f"Received: {metric!r}"
            )
    judges = {
        metric.name: getattr(getattr(metric, "reference", None), "model", None) for metric in metrics
    }
    judges = {name: weights_hash(judge) for name, judge in judges.items() if judge is not None}
    for name, model in models.items() if judges else ():
        mark = weights_hash(model)  # that of its denoiser too: a model has no weights of its own
        judge = next((judge for judge, known in judges.items() if known == mark), None)
        if judge is not None:
            raise ValueError(f"{judge}: the reference is {name!r} itself, one of the models it judges.")
    if not isinstance(samples, (int, np.integer)) or samples < 1:
        raise ValueError(f"`samples` must be an integer of at least 1. Received: {samples!r}")
    lengths = {generate.get("length") or model.length for model in models.values()}
    if reference_data is not None and np.shape(reference_data)[1:] not in {(k,) for k in lengths}:
        raise ValueError(
            f"`reference_data` must be ids of shape (n, {', '.join(map(str, sorted(lengths)))}), as "
            f"long as samples. Received: shape {np.shape(reference_data)}"
        )
    for metric in metrics:
        if hasattr(metric, "check"):
            metric.check(samples, min(lengths), reference_data is not None)
    if reference_data is not None and len(reference_data) < 2 * samples:
        raise ValueError(
            f"`reference_data` must be at least twice `samples`, {2 * samples}: one half stands in the "
            f"place of samples. Received: {len(reference_data)}"
        )
    own = {"n", "steps", "seed", "temperature", "trajectory", "verbose"} & set(generate)
    if own:
        raise ValueError(
            f"{sorted(own)} are not for `generate` here: a sweep has `steps`, `seeds` and "
            "`temperatures`."
        )
    prompts = generate.get("prompts")
    prompts = () if prompts is None or isinstance(prompts, np.ndarray) else prompts
    if any(isinstance(part, str) for prompt in prompts for part in [prompt, *prompt]):
        raise ValueError("`prompts` must be ids here: encode texts with the model's tokenizer.")


def _check_channels(models, channels):
    for name, model in models.items():
        grid = getattr(model.denoiser, "grid", None)
        if grid is not None and (channels not in (1, 3) or grid[1] % channels):
            raise ValueError(
                "`channels` must be 1 or 3, and divide the columns of a grid. Received: "
                f"channels={channels!r}, and {name!r} with grid={grid}"
            )


class _Measurement:
    """What is done for a cell; the arguments are those of `evaluate`."""

    def __init__(self, models, metrics, data, samples, seeds, shown, base, generate):
        self.models, self.metrics, self.samples, self.shown = models, metrics, samples, shown
        self.seeds = list(seeds)
        self.data = None if data is None else np.asarray(data)
        self.order = None if data is None else np.random.default_rng(0).permutation(len(data))
        self.base, self.generate = base, generate
        self.step_entropies = {name: StepEntropies(model) for name, model in models.items()}

    def of_model(self, name, k, temperature, seed):
        """Figures, time and samples to show, a dict that JSON holds."""
        model, samples = self.models[name], self.samples
        options = {**self.generate, "temperature": temperature}
        # Compiled, before the clock starts.
        model.generate(samples, steps=1, seed=seed, verbose=0, **options)
        start = time.perf_counter()
        tokens = model.generate(samples, steps=k, seed=seed, verbose=0, **options)
        seconds = time.perf_counter() - start
        data = None if self.data is None else self._real(seed, samples)
        cell = {
            "figures": ask(self.metrics, tokens, data),
            "seconds_per_sample": seconds / samples,
            "shown": tokens[: self.shown].tolist(),
        }
        entropies = self.step_entropies[name]
        if temperature == self.base and entropies.applies(self.generate):
            cell["entropies"] = entropies(k, min(samples, 64), seed, **options)
        return cell

    def of_data(self, seed):
        """Real sequences in the place of samples, beside others to compare with."""
        rows = self._real(seed, 2 * self.samples)
        return {"figures": ask(self.metrics, rows[: self.samples], rows[self.samples :])}

    def _real(self, seed, n):
        """A seed's rows of the data: others than another seed's, as far as there are enough."""
        first = 2 * self.samples * self.seeds.index(seed)
        return self.data[np.take(self.order, np.arange(first, first + n), mode="wrap")]


def _rows(found):
    """A row a model, number of calls and temperature: every figure's mean and error over seeds."""
    groups = {}
    for (name, k, temperature, _), cell in found.items():
        groups.setdefault((name, k, temperature), []).append(cell)
    rows = []
    for (name, k, temperature), cells in groups.items():
        row = {"model": name, "steps": k or None, "temperature": temperature, "seeds": len(cells)}
        for figure in cells[0]["figures"]:
            if figure.endswith("_error"):
                continue
            mean, error = mean_and_error([cell["figures"][figure] for cell in cells])
            if len(cells) == 1:  # within its one set of samples, where the metric knows it
                error = cells[0]["figures"].get(f"{figure}_error", error)
            # Neither JSON nor a table has a NaN.
            mean, error = (None if value != value else value for value in (mean, error))
            row |= {figure: mean, f"{figure}_error": error}
        if "seconds_per_sample" in cells[0]:
            row["seconds_per_sample"] = float(np.median([c["seconds_per_sample"] for c in cells]))
        if cells[0].get("entropies"):
            row["step_entropies"] = np.mean([c["entropies"] for c in cells], axis=0).tolist()
        rows.append(row)
    return rows


def _browser(found, models, seed, base, channels):
    """Samples to look at: `{model: {steps: [text or ids]}}`, with the grid of images."""
    shown = {"grids": {}, "samples": {}}
    for (name, k, temperature, cell_seed), cell in found.items():
        if name not in models or cell_seed != seed or temperature != base:
            continue
        model = models[name]
        grid = getattr(model.denoiser, "grid", None)
        if grid is not None:
            rows, columns = grid
            levels = model.process.vocabulary_size
            shown["grids"][name] = [rows, columns // channels, levels, channels]
            texts = cell["shown"]
        elif model.tokenizer is not None:
            texts = model.tokenizer.decode(np.array(cell["shown"], "int32"))
        else:
            texts = [" ".join(map(str, ids)) for ids in cell["shown"]]
        shown["samples"].setdefault(name, {})[str(k)] = texts
    return shown


def _describe(metric):
    features = getattr(metric, "feature_name", None)
    return metric.name if features is None else f"{metric.name} ({features})"


def _mark(metric):
    """What tells one metric from another, as JSON."""
    return getattr(metric, "fingerprint", lambda: [metric.name])()


def _plain(value):
    """An argument as text, arrays by their mark."""
    return array_hash(value) if isinstance(value, np.ndarray) else repr(value)


def _model_mark(model):
    """What tells one sampler from another: weights, process, length, tokens."""
    parts = (model.process, model.tokenizer)
    kept = [part and keras.saving.serialize_keras_object(part) for part in parts]
    text = json.dumps(
        [*kept, model.length, type(model.denoiser).__name__], sort_keys=True, default=repr
    )
    return array_hash(np.frombuffer(text.encode(), "uint8"), *model.get_weights())


def _describe_model(model):
    network = f"{type(model.denoiser).__name__}, {model.count_params():,} parameters"
    return {"process": repr(model.process), "network": network, "length": model.length}
