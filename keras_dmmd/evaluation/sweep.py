"""Samplers against the number of network calls and the temperature: one call, figures with errors."""

import json
import os
import platform
import time

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.distillation.dmmd import entropies, mean_where
from keras_dmmd.evaluation.report import Report, base_temperature
from keras_dmmd.metrics.streaming import array_hash, ask, weights_hash
from keras_dmmd.metrics.text import mean_and_error
from keras_dmmd.optional import package
from keras_dmmd.sampling.sampler import time_grid
from keras_dmmd.training.diffusion_model import DiffusionModel
from keras_dmmd.version import __version__


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
        title: of the report.
        verbose: Keras's progress bar: 0, 1, or `"auto"`, which is 1.
        **generate: further arguments of `DiffusionModel.generate`, as `top_p`, `length`, `labels`.

    Returns:
        A `Report`.

    Raises:
        ValueError: something is missing or has the wrong form, or the folder holds another sweep.
    """
    _check(models, steps, metrics, temperatures, samples, seeds, reference_data, generate)
    if folder is not None:
        package("matplotlib", "The page of a report", "matplotlib")  # now, not after hours
    settings = {
        "models": {name: weights_hash(model) for name, model in models.items()},
        "steps": list(map(int, steps)),
        "temperatures": list(map(float, temperatures)),
        "metrics": [_describe(metric) for metric in metrics],
        "metric_marks": [_mark(metric) for metric in metrics],
        "samples": int(samples),
        "seeds": list(map(int, seeds)),
        "data": None if reference_data is None else array_hash(reference_data),
        "generate": {name: _plain(value) for name, value in generate.items()},
        "machine": _machine(),
    }
    settings = json.loads(json.dumps(settings))  # as a file will give it back
    base = base_temperature(settings["temperatures"])
    cells = _Cells(folder, settings)
    plan = [
        (name, int(k), float(temperature), int(seed))
        for seed in seeds  # a first column of figures soon, then their errors
        for temperature in temperatures
        for k in steps
        for name in models
    ]
    bar = keras.utils.Progbar(len(plan), unit_name="cell") if verbose else None
    found = {}
    if reference_data is not None:
        for seed in seeds:
            found["data", 0, 1.0, seed] = cells.get(
                ("data", seed), lambda seed=seed: _measure_data(reference_data, samples, seed, metrics)
            )
    for i, (name, k, temperature, seed) in enumerate(plan):
        found[name, k, temperature, seed] = cells.get(
            (name, k, temperature, seed),
            lambda n=name, k=k, t=temperature, s=seed: _measure(
                models[n], k, t, s, metrics, reference_data, samples, shown, generate, t == base
            ),
        )
        if bar:
            bar.update(i + 1)
    machine = settings.pop("machine")
    report = Report(title, settings, machine, _rows(found), _browser(found, models, seeds[0], base))
    if folder is not None:
        report.save(folder)
    return report


def step_entropies(model, steps, samples=256, seed=0, **generate):
    """Entropy of a model's prediction of an open token at every step, nats, `(steps,)`.

    A student's is lower the fewer its steps: that is how tokens which are drawn apart agree.

    Args:
        model: a built `DiffusionModel` of whole sequences, without self-conditioning.
        steps: network calls a sample.
        samples, seed: over which the mean is taken.
        **generate: `length`, `temperature`, `top_p` of `DiffusionModel.generate`: how the sequences are
            made in which the entropy is read.
    """
    if not _has_step_entropies(model, generate):
        raise ValueError(
            "Entropies by step are those of whole sequences that nothing else is told of. Received: "
            f"block_size={model.block_size}, self_conditioning={model.self_conditioning}, {generate}"
        )
    path = model.generate(
        samples, steps=steps, seed=seed, trajectory=True, verbose=0, batch_size=samples, **generate
    )

    def entropy(z_t, t, key):
        t = ops.broadcast_to(t, (samples,))
        log_probs = model.process.log_mean(model.logits(z_t, t, seed=key), z_t, t)
        return mean_where(model.process.is_open(z_t), entropies(log_probs))

    entropy = backend.compile_inference(entropy, model.variables, backend.COMPILES)
    keys = random.split(random.as_key(seed + 1), steps)
    return [
        float(ops.convert_to_numpy(entropy(*map(ops.convert_to_tensor, (z, t)), key)))
        for z, t, key in zip(path[:-1], time_grid(steps)[:-1], keys, strict=True)
    ]


def _has_step_entropies(model, generate):
    told = set(generate) - {"length", "temperature", "top_p"}
    return not (model.block_size or model.self_conditioning or told)


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
        judge = getattr(metric, "reference", None)
        if judge is not None and any(getattr(judge, "model", None) is m for m in models.values()):
            raise ValueError(f"{metric.name}: the reference is one of the models that it judges.")
    if not isinstance(samples, (int, np.integer)) or samples < 1:
        raise ValueError(f"`samples` must be an integer of at least 1. Received: {samples!r}")
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
    if any(
        isinstance(part, str) for prompt in generate.get("prompts") or () for part in [prompt, *prompt]
    ):
        raise ValueError("`prompts` must be ids here: encode texts with the model's tokenizer.")


def _measure(model, k, temperature, seed, metrics, data, samples, shown, generate, with_entropies):
    """One cell: a dict of figures, time and samples to show."""
    options = {**generate, "temperature": temperature, "verbose": 0}
    model.generate(samples, steps=1, seed=seed, **options)  # compiled, before the clock starts
    start = time.perf_counter()
    tokens = model.generate(samples, steps=k, seed=seed, **options)
    seconds = time.perf_counter() - start
    if data is not None:
        order = np.random.default_rng(seed).permutation(len(data))[:samples]
        data = np.asarray(data)[order]
    cell = {"figures": ask(metrics, tokens, data), "seconds_per_sample": seconds / samples}
    cell["shown"] = tokens[:shown].tolist()
    if with_entropies and _has_step_entropies(model, generate):
        options = {**generate, "temperature": temperature}
        cell["entropies"] = step_entropies(model, k, min(samples, 64), seed, **options)
    return cell


def _measure_data(data, samples, seed, metrics):
    """Real sequences in the place of samples, beside others to compare with."""
    order = np.random.default_rng(seed).permutation(len(data))[: 2 * samples]
    data = np.asarray(data)[order]
    return {"figures": ask(metrics, data[:samples], data[samples:])}


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
            row |= {figure: mean, f"{figure}_error": None if error != error else error}
        if "seconds_per_sample" in cells[0]:
            row["seconds_per_sample"] = float(np.median([c["seconds_per_sample"] for c in cells]))
        if cells[0].get("entropies"):
            row["step_entropies"] = np.mean([c["entropies"] for c in cells], axis=0).tolist()
        rows.append(row)
    return rows


def _browser(found, models, seed, base):
    """Samples to look at: `{model: {steps: [text or ids]}}`, with the grid of images."""
    shown = {"grids": {}, "samples": {}}
    for (name, k, temperature, cell_seed), cell in found.items():
        if name not in models or cell_seed != seed or temperature != base:
            continue
        model = models[name]
        grid = getattr(model.denoiser, "grid", None)
        if grid is not None:
            shown["grids"][name] = [*grid, model.process.vocabulary_size]
            texts = cell["shown"]
        elif model.tokenizer is not None:
            texts = model.tokenizer.decode(np.array(cell["shown"], "int32"))
        else:
            texts = [" ".join(map(str, ids)) for ids in cell["shown"]]
        shown["samples"].setdefault(name, {})[str(k)] = texts
    return shown


class _Cells:
    """Finished cells, as files of a folder."""

    def __init__(self, folder, settings):
        self.folder = folder and os.path.join(folder, "cells")
        if folder is None:
            return
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, "settings.json")
        # What may grow from one call to the next needs no cell done again.
        fixed = {k: v for k, v in settings.items() if k not in ("steps", "temperatures", "seeds")}
        if os.path.exists(path):
            with open(path) as file:
                known = json.load(file)
            changed = sorted(k for k in fixed if k != "models" and known.get(k) != fixed[k])
            changed += [
                f"model {name!r}"
                for name, mark in fixed["models"].items()
                if known["models"].get(name, mark) != mark
            ]
            if changed:
                raise ValueError(
                    f"{os.fspath(folder)!r} holds a sweep with other {', '.join(changed)}: take "
                    "another folder."
                )
            fixed["models"] = {**known["models"], **fixed["models"]}
        _write(path, fixed)

    def get(self, key, work):
        if self.folder is None:
            return work()
        path = os.path.join(self.folder, f"{array_hash(np.array(repr(key)))}.json")
        if not os.path.exists(path):
            _write(path, work())
        with open(path) as file:
            return json.load(file)


def _write(path, content):
    with open(f"{path}.partial", "w") as file:
        json.dump(content, file, indent=1)
    os.replace(f"{path}.partial", path)


def _describe(metric):
    features = getattr(metric, "feature_name", None)
    return metric.name if features is None else f"{metric.name} ({features})"


def _mark(metric):
    """What tells one metric from another, as JSON."""
    return getattr(metric, "fingerprint", lambda: [metric.name])()


def _plain(value):
    """An argument as text, arrays by their mark."""
    return array_hash(value) if isinstance(value, np.ndarray) else repr(value)


def _machine():
    return {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_dmmd": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "device": f"{'CPU' if backend.on_cpu() else 'accelerator'}, {platform.machine()}",
        "cores": os.cpu_count(),
        "policy": keras.config.dtype_policy().name,
    }
