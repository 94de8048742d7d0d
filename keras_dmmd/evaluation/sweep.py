"""Samplers against the number of network calls and the temperature: one call, figures with errors."""

import dataclasses
import itertools
import json
import time
from typing import NamedTuple

import keras
import numpy as np

from keras_dmmd import backend
from keras_dmmd import samplers as all_samplers
from keras_dmmd.checks import iterable, label, verbosity
from keras_dmmd.evaluation import checks
from keras_dmmd.evaluation.entropies import step_entropies
from keras_dmmd.evaluation.finished_cells import FinishedCells
from keras_dmmd.evaluation.machine import machine
from keras_dmmd.evaluation.report import DATA, Report, without_errors
from keras_dmmd.fingerprints import array_hash, text_hash, value_text, weights_hash
from keras_dmmd.metrics.distances import FeatureMetric
from keras_dmmd.metrics.statistics import mean_and_error
from keras_dmmd.metrics.streaming import measure_by
from keras_dmmd.optional import package
from keras_dmmd.sampling.grids import calls_of

OWN = "own"  # the name of the sampler that a model brings
ENTROPY_SAMPLES = 64  # over which entropies by step are averaged


class Cell(NamedTuple):
    """What is drawn and measured at once."""

    model: str
    steps: int
    temperature: float
    seed: int
    sampler: str = OWN


def evaluate(
    models,
    steps,
    metrics,
    temperatures=(1.0,),
    samplers=None,
    reference_data=None,
    samples=1000,
    seeds=(0, 1, 2),
    folder=None,
    shown=16,
    channels=1,
    title="Samplers",
    verbose="auto",
    reference_labels=None,
    **generate,
):
    """Sweep models over network calls, samplers and temperatures.

    Every cell, one model, number of calls, sampler, temperature and seed, draws `samples` sequences and
    asks every metric. The standard error of a figure is that of its mean over seeds. The same arguments
    give the same samples again. Several processes that train together make the same call: they share
    the sampling, and all return the figures that the first has measured and written.

    Args:
        models: a dict of names to built `DiffusionModel`s, teachers and students.
        steps: numbers of network calls per sample (of a model of blocks: per block); of samplers that
            may end early the most. What they took is in the report.
        metrics: a list of `keras_dmmd.metrics.StreamingMetric`s.
        temperatures: of the predictions.
        samplers: a list of names or `keras_dmmd.samplers.Stepper`s, or a dict of names of one's own to
            those; by default each model's own.
        reference_data: real ids `(n, length)`, at least twice as many as samples: given to every metric
            beside the samples, in the same number, and measured like a model under the name `"data"`,
            one part of them against another. A metric with data of its own should have others.
        samples: sequences per cell.
        seeds: integers, a set of samples each.
        folder: where to write `report.json`, `report.csv`, `report.html` and every finished cell, so
            that the same call goes on where it was interrupted. `None` writes nothing.
        shown: samples of a cell that the report shows, of the first seed.
        channels: of images, whose tokens are then their values, channel innermost: 3 shows colours.
        title: of the report.
        verbose: Keras's progress bar: 0, 1, or `"auto"`, which is 1; 2 is a line for every cell.
        reference_labels: the classes of `reference_data`, `(n,)`, for samples of some classes alone
            (`labels=1`): data of other classes are left out.
        **generate: further arguments of `DiffusionModel.generate`, as `top_p`, `length`, `labels`.

    Returns:
        A `Report`.

    Raises:
        ValueError: something is missing or has the wrong form, or the folder holds another sweep.

    Example:

    ```python
    (train, _), (test, _) = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    report = kd.evaluate(
        {who: kd.from_preset(f"digits_masked_{who}") for who in ("teacher", "student")},
        steps=[1, 2],
        metrics=[kd.metrics.FrechetDistance(features, np.concatenate([train, test]))],
        samples=64,
        seeds=[0, 1],
        folder="runs/digits",  # with a page, runs/digits/report.html
    )
    print(report)
    ```
    """
    label("title", title)
    checks.check_models(models)
    steps, temperatures, seeds = checks.check_numbers(steps, temperatures, seeds, samples)
    metrics = checks.check_metrics(metrics, models)
    classes = generate.get("labels")
    reference_data = checks.data_of_classes(reference_data, reference_labels, classes)
    checks.check_data(models, metrics, reference_data, samples, generate)
    checks.check_channels(models, channels)
    folder = checks.check_page(folder, shown, title)
    verbosity(verbose)
    samplers = _read_samplers(samplers, models)
    checks.check_generate(models, samplers, steps, samples, generate)
    if folder is not None:
        package("matplotlib", "The page of a report", "matplotlib")  # now, not after hours
    settings = {
        "models": {name: _model_fingerprint(model) for name, model in models.items()},
        "steps": list(map(int, steps)),
        "temperatures": list(map(float, temperatures)),
        "samplers": {name: repr(stepper) for name, stepper in samplers.items()},
        "metrics": [_describe(metric) for metric in metrics],
        "metric_fingerprints": [metric.fingerprint() for metric in metrics],
        "samples": int(samples),
        "shown": int(shown),
        "seeds": list(map(int, seeds)),
        "data": None if reference_data is None else array_hash(reference_data),
        "generate": {name: value_text(value) for name, value in generate.items()},
        "machine": machine(),
    }
    settings = json.loads(json.dumps(settings))  # as a file will give it back
    cells = FinishedCells(folder, settings)
    # A first column of figures soon, then their errors.
    order = itertools.product(seeds, temperatures, samplers, steps, models)
    plan = [Cell(name, int(k), float(tau), int(seed), sampler) for seed, tau, sampler, k, name in order]
    bar = keras.utils.Progbar(len(plan), unit_name="cell") if verbose in ("auto", 1) else None
    measurement = _Measurement(
        models, samplers, metrics, reference_data, settings, generate, cells.seeds
    )
    found = {}
    if reference_data is not None:
        for seed in seeds:
            cell = Cell(DATA, 0, 1.0, int(seed))
            found[cell] = cells.get((DATA, seed), lambda s=seed: measurement.of_data(s))
    for i, cell in enumerate(plan):
        key = (*cell, settings["samplers"][cell.sampler])
        found[cell] = cells.get(key, lambda cell=cell: measurement.of_model(cell))
        if bar:
            bar.update(i + 1)
        elif verbose:
            where = f"temperature {cell.temperature:g}, seed {cell.seed}"
            about = f"{cell.model}, {cell.sampler}, {cell.steps} steps, {where}"
            print(f"cell {i + 1} of {len(plan)}: {about}", flush=True)
    made_on = settings.pop("machine")
    settings["networks"] = {name: _describe_model(model) for name, model in models.items()}
    notes = {figure: note for metric in metrics for figure, note in metric.notes().items()}
    report = Report(
        title,
        settings,
        made_on,
        _rows(found),
        _browser(found, models, measurement.base, channels),
        {figure: dataclasses.asdict(note) for figure, note in notes.items()},
    )
    if folder is not None:
        backend.from_first(lambda: report.save(folder))
    return report


def _read_samplers(samplers, models):
    """Names to steppers, or to `None` for each model's own; all of which every model can have."""
    if samplers is None:
        return {OWN: None}
    if not isinstance(samplers, dict):
        samplers = list(iterable("samplers", samplers, "names or Steppers"))
        read = [all_samplers.get(sampler) for sampler in samplers]
        names = [s if isinstance(s, str) else repr(r) for s, r in zip(samplers, read, strict=True)]
        samplers = dict(zip(names, read, strict=True))
        if len(samplers) < len(read):
            raise ValueError(f"`samplers` must be different ones. Received: {names}")
    samplers = {
        label("sampler name", name): all_samplers.get(sampler) for name, sampler in samplers.items()
    }
    if not samplers:
        raise ValueError("`samplers` is empty: leave it out for each model's own.")
    for stepper in samplers.values():
        for model in models.values():
            stepper.check(model.process)
    return samplers


class _Measurement:
    """What is done for a cell; the arguments are those of `evaluate`, and all seeds of its folder."""

    def __init__(self, models, samplers, metrics, data, settings, generate, seeds):
        self.models, self.samplers, self.metrics = models, samplers, metrics
        self.n, self.shown = settings["samples"], settings["shown"]
        self.seeds = seeds
        self.data = None if data is None else np.asarray(data)
        self.order = None if data is None else np.random.default_rng(0).permutation(len(data))
        temperature = 1.0 if 1.0 in settings["temperatures"] else settings["temperatures"][0]
        self.base = Cell(None, None, temperature, settings["seeds"][0])
        self.generate = generate

    def of_model(self, cell):
        """Figures, time and samples to show, a dict that JSON holds."""
        model, n = self.models[cell.model], self.n
        options = {**self.generate, "temperature": cell.temperature, "verbose": 0}
        options |= {"seed": cell.seed, "steps": cell.steps, "sampler": self.samplers[cell.sampler]}
        stepper = options["sampler"] or model.sampler
        fixed = calls_of(self.generate.get("times")) is not None
        # Compiled before the clock starts: of rows that end early there are batches of several sizes.
        whole = stepper.adaptive or fixed or not stepper.one_call_is_enough
        model.generate(n, **{**options, "steps": cell.steps if whole else 1})
        start = time.perf_counter()
        tokens, calls = model.generate(n, return_calls=True, **options)
        seconds = time.perf_counter() - start
        data = None if self.data is None else self._real(cell.seed, n)
        found = {
            "figures": self._figures(tokens, data),
            "calls": float(np.mean(calls)),
            "seconds_per_sample": seconds / n,
            "shown": tokens[: self.shown].tolist(),
        }
        if cell.temperature == self.base.temperature:
            few = min(n, ENTROPY_SAMPLES)
            found["entropies"] = step_entropies(model, samples=few, **_first(options, n, few))
        return found

    def of_data(self, seed):
        """Real sequences in the place of samples, beside others to compare with."""
        rows = self._real(seed, 2 * self.n)
        samples, others = rows[: self.n], rows[self.n :]
        return {"figures": self._figures(samples, others)}

    def _figures(self, samples, data):
        figures = measure_by(backend.agreed, self.metrics, samples, data)
        checks.check_figures(figures)  # of scores nobody knows them before
        return figures

    def _real(self, seed, n):
        """A seed's rows of the data: others than another seed's, as far as there are enough."""
        first = 2 * self.n * self.seeds.index(seed)
        return self.data[np.take(self.order, np.arange(first, first + n), mode="wrap")]


def _first(options, n, few):
    """Arguments of `generate` for the first few of n samples, of what has an entry per sample."""
    per_sample = ("labels", "prompts", "known")

    def size(value):  # prompts may differ in their lengths: no array can be made of such
        return len(value) if isinstance(value, (list, tuple)) else (*np.shape(value), None)[0]

    return {
        name: value[:few] if name in per_sample and size(value) == n else value
        for name, value in options.items()
    }


def _rows(found):
    """A row for each model, sampler, number of steps and temperature: means and errors over seeds."""
    groups = {}
    for cell, content in found.items():
        groups.setdefault(cell._replace(seed=None), []).append(content)
    rows = []
    for cell, contents in groups.items():
        row = {"model": cell.model, "sampler": cell.sampler, "steps": cell.steps or None, "calls": None}
        row |= {"temperature": cell.temperature, "seeds": len(contents)}
        for figure in without_errors({name: None for each in contents for name in each["figures"]}):
            # A score may have no such figure for some seed: then there is no mean.
            values = [content["figures"].get(figure, float("nan")) for content in contents]
            mean, error = mean_and_error(values)
            if len(contents) == 1:  # within its one set of samples, where the metric knows it
                error = contents[0]["figures"].get(f"{figure}_error", error)
            # Neither JSON nor a table has a NaN, and JSON no infinity.
            mean, error = (value if np.isfinite(value) else None for value in (mean, error))
            row |= {figure: mean, f"{figure}_error": error}
        if cell.model != DATA:
            row["calls"] = float(np.mean([c["calls"] for c in contents]))
            row["seconds_per_sample"] = float(np.median([c["seconds_per_sample"] for c in contents]))
        entropies = [content["entropies"] for content in contents if content.get("entropies")]
        if entropies:
            longest = max(map(len, entropies))  # of samplers that end early some have more calls
            padded = [e + [np.nan] * (longest - len(e)) for e in entropies]
            row["step_entropies"] = np.nanmean(padded, axis=0).tolist()
        rows.append(row)
    return rows


def _browser(found, models, base, channels):
    """Samples to look at: `{model: {steps: [text or ids]}}`, with the grid of images."""
    shown = {"grids": {}, "samples": {}}
    several = len({cell.sampler for cell in found if cell.model != DATA}) > 1
    for cell, content in found.items():
        if cell.model == DATA or (cell.temperature, cell.seed) != (base.temperature, base.seed):
            continue
        model = models[cell.model]
        name = f"{cell.model}, {cell.sampler}" if several else cell.model
        grid = model.capabilities.grid
        if grid is not None:
            rows, columns = grid
            levels = model.process.vocabulary_size
            shown["grids"][name] = [rows, columns // channels, levels, channels]
            texts = content["shown"]
        elif model.tokenizer is not None:
            texts = model.tokenizer.decode(np.array(content["shown"], "int32"))
        else:
            texts = [" ".join(map(str, ids)) for ids in content["shown"]]
        shown["samples"].setdefault(name, {})[str(cell.steps)] = texts
    return shown


def _describe(metric):
    if isinstance(metric, FeatureMetric):
        return f"{metric.name} ({metric.feature_name})"
    return metric.name


def _model_fingerprint(model):
    """What tells one model from another: weights, process, sampler, length, tokens."""
    parts = (model.process, model.tokenizer, model.sampler)
    kept = [part and keras.saving.serialize_keras_object(part) for part in parts]
    text = json.dumps(
        [*kept, model.length, type(model.denoiser).__name__], sort_keys=True, default=value_text
    )
    return text_hash(text + weights_hash(model))


def _describe_model(model):
    network = f"{type(model.denoiser).__name__}, {model.count_params():,} parameters"
    return {"process": repr(model.process), "network": network, "length": model.length}
