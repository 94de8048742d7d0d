"""The one function that exports."""

import json
import os

from keras_dmmd import checks, samplers
from keras_dmmd.backend.writers import WRITERS
from keras_dmmd.exporting.description import describe
from keras_dmmd.exporting.formats import WITH_INTEGERS, check_place, format_of
from keras_dmmd.exporting.graphs import KINDS
from keras_dmmd.files import replacing
from keras_dmmd.models.changes import is_quantized
from keras_dmmd.sampling import truncation
from keras_dmmd.sampling.grids import calls_of
from keras_dmmd.sampling.network_step import Settings

# Calls that are written one after the other: a graph of more would take hours to write and to load.
MOST_UNROLLED = 256


def export(
    model,
    path,
    format=None,
    kind="sampler",
    batch=None,
    length=None,
    steps=None,
    sampler=None,
    times=None,
    temperature=1.0,
    top_p=None,
    guidance_scale=None,
    weights=None,
):
    """Write a model's sampler to a file that runs without Keras, and what it takes to `path + ".json"`.

    Random numbers are functions of seeds, which are inputs: the file gives the tokens that `generate`
    gives on the backend that wrote it, as far as sums of floats agree.

    Args:
        model: a built `DiffusionModel`.
        path: of the file, or of the folder of a SavedModel.
        format: `"onnx"` (`.onnx`) or `"torch"` (`.pt2`, of `torch.export`) on Torch, `"stablehlo"`
            (`.stablehlo`, of `jax.export`) on JAX, `"litert"` (`.tflite`) or `"saved_model"`, a folder,
            on TensorFlow; by default that of the path's ending.
        kind: `"sampler"`: `(seeds, rows, known, given[, labels]) -> tokens`, all calls without a
            loop. `"step"`: `(z, t, s, call, seeds, rows, known, given[, labels]) -> tokens`, one call,
            for loops of one's own; call i of `steps` draws what it does in `generate`. `"prior"`:
            `(seeds, rows, known, given[, labels]) -> tokens`, the canvas before the first call.
        batch: rows, or `None` for any number.
        length: tokens of a sample; by default that of the training data. At another one the tokens are
            those of `generate(jit_compile=False)`, which fills up no rows.
        steps, sampler, times, temperature, top_p, guidance_scale: as of `generate`, and fixed in the
            file. Of a sampler that may end early `steps` is by default the model's own, too.
        weights: `None`, as they are, or `"int8"`, for ONNX and LiteRT: tables of weights as integers
            with a scale per column, a quarter of the size; the network computes in float32. Other
            formats take what `model.quantize("int8")` made of the model as it is.

    Raises:
        ValueError: this backend does not write the format, or the model has no such graph.
        ImportError: the format needs a package; it says which.
        OSError: it cannot be written there.
    """
    path = os.path.normpath(checks.path("path", path))
    format = format_of(path, format)
    checks.choice("kind", kind, KINDS)
    checks.choice("weights", weights, (None, "int8"))
    _check_integers(model, format, weights)
    batch = None if batch is None else checks.count("batch", batch)
    length = model.length if length is None else checks.count("length", length)
    if length is None:
        raise ValueError("This model has seen no data yet: pass `length`.")
    model.check_length(length)
    truncation.check(temperature, top_p)
    if guidance_scale is not None:
        guidance_scale = checks.number("guidance_scale", guidance_scale, low=-float("inf"))
        if not model.capabilities.num_classes:
            raise ValueError("`guidance_scale` strengthens labels, which this model does not take.")
    if not model.built:
        model.build((None, length))
    stepper = model.sampler if sampler is None else samplers.get(sampler)
    stepper.check(model.process)
    if times is not None and not stepper.uses_times:
        raise ValueError(f"{type(stepper).__name__} has times of its own: leave out `times`.")
    asked = calls_of(times) if steps is None else checks.count("steps", steps)
    size = model.capabilities.block_size or length
    if asked is None and stepper.adaptive and stepper.one_call_is_enough:
        asked = min(model.steps, stepper.steps(None, model.steps, size))
    grid = stepper.grid(model.process, stepper.steps(asked, model.steps, size), times)
    graph = KINDS[kind](
        model=model,
        stepper=stepper,
        grid=grid,
        length=length,
        batch=batch,
        settings=Settings.fixed(stepper, temperature, top_p, guidance_scale),
    )
    graph.check(MOST_UNROLLED)
    check_place(path, format)
    with replacing(path, path + ".json") as (file, description):
        WRITERS[format](graph, graph.inputs, graph.output, [model.denoiser], file, weights)
        with open(description, "w", encoding="utf-8") as out:
            json.dump(describe(graph, kind, format), out, indent=1)


def _check_integers(model, format, weights):
    """Raise a `ValueError` where a format does not hold weights as integers in this way."""
    quantized = any(is_quantized(layer) for layer in model._flatten_layers())
    if weights is not None and format not in WITH_INTEGERS:
        raise ValueError(
            f"Of the format {format!r} the model itself holds the integers: `model.quantize('int8')`, "
            f"then export it without `weights`. Received: weights={weights!r}"
        )
    if format in WITH_INTEGERS and quantized:
        raise ValueError(
            f"A quantized model is not written as {format!r}, which has no product of integers as "
            'Keras makes it: export the one that it was made of, with `weights="int8"`.'
        )
