"""The sampler: one compiled step, reused for every call of every batch."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.conditions import NOTHING, Conditions
from keras_dmmd.sampling.network_step import Settings, State, network_step
from keras_dmmd.sampling.progress import Progress


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a sampler.

    Attributes:
        n: number of samples.
        length: tokens of a sample.
        size: tokens that are written at once: a block of them, or all.
        stepper: a `keras_dmmd.samplers.Stepper`.
        grid: times of the calls, float32 numpy `(calls + 1,)`.
        conditions: numpy `Conditions` of `n` rows.
        temperature, top_p, guidance_scale: see `DiffusionModel.generate`.
        batch_size: samples drawn at once.
        trajectory: whether to keep every `z_t` on the way.
        record_entropies: whether to measure the network's predictions.
    """

    n: int
    length: int
    size: int
    stepper: Any
    grid: np.ndarray
    conditions: Conditions = NOTHING
    temperature: float = 1.0
    top_p: Any = None
    guidance_scale: Any = None
    batch_size: int = 1
    trajectory: bool = False
    record_entropies: bool = False

    @property
    def calls(self):
        """Network calls of a block, at the most."""
        return len(self.grid) - 1

    @functools.cached_property
    def blocks(self):
        """The starts of all blocks, and whether each has something to fill.

        One that every prompt fills needs no call. A sequence of a single block takes the calls that
        were asked for.
        """
        starts = range(0, self.length, self.size)
        given = {start: self.conditions.are_all_known(start, self.size) for start in starts}
        return {start: len(given) == 1 or not is_given for start, is_given in given.items()}


class Samples(NamedTuple):
    """What a sampler returns, numpy.

    Attributes:
        tokens: ids `(n, length)`.
        calls: network calls that each sample took, `(n,)`.
        trajectory: every `z_t`, `(calls + 1, n, length)` from `z_1` to `z_0`, or `None`.
        entropies: mean entropy of open tokens' predictions at every call, nats, `(calls,)`, the mean
            over blocks; `None` where it was not asked for.
    """

    tokens: np.ndarray
    calls: np.ndarray
    trajectory: Any = None
    entropies: Any = None


class Sampler:
    """Draws from a `DiffusionModel`, teacher or student.

    The network runs in its dtype policy's precision; log-probabilities, posteriors and draws are
    float32. The step is compiled once per shape and kind of stepper (XLA on JAX and TensorFlow; eager
    on Torch, `torch.compile` with `jit_compile=True`) and called from a Python loop: on accelerators
    dispatch runs ahead of the computation, and on CPU it beats a compiled loop.

    Given tokens stay what they are, and the others are drawn around them. Where the network can tell
    them from noise (a masked process, or a denoiser that is told), they stand in every `z_t`; where it
    cannot, they take the path of corrupted data, `q(z_s | z_t, given)`, which is what it knows.

    A model of blocks takes its calls block after block; what it keeps of finished ones is a cache
    of fixed size, so that the step is compiled once and each block costs the same. A block that is
    given whole in every row costs no call, nor does any after the last row has ended its text.

    Args:
        model: a built `keras_dmmd.DiffusionModel`.
        jit_compile: `"auto"` (XLA on JAX and TensorFlow, eager on Torch) or a bool.

    Attributes:
        trace_count: how many times a step was traced (JAX, TensorFlow), once for each shape.
    """

    def __init__(self, model, jit_compile="auto"):
        self.model = model
        self.trace_count = 0
        self.jit_compile = backend.COMPILES if jit_compile == "auto" else jit_compile
        self._compiled = {}

    def __call__(self, request, seed, verbose="auto"):
        """The `Samples` of a `Request`."""
        n, batch_size = request.n, min(request.n, request.batch_size)
        settings = Settings.of(
            request.temperature, request.top_p, request.guidance_scale, request.stepper
        )
        calls = request.calls * sum(request.blocks.values()) * -(-n // batch_size)
        parts, seed, done = [], random.as_key(seed), 0
        with Progress(verbose, calls) as progress:
            while done < n:
                try:
                    conditions = request.conditions.rows(done, batch_size)
                    batch = _Batch(self, request, settings, conditions, batch_size, progress)
                    part = batch.draw(seed, done)
                except Exception as error:
                    if batch_size == 1 or not backend.is_out_of_memory(error):
                        raise
                    batch_size = (batch_size + 1) // 2
                    continue
                done += batch_size
                parts.append(part)
        return _joined(parts, n, request)

    def step(self, request):
        """The compiled step of a request's stepper."""
        key = (*request.stepper.compile_key(), request.record_entropies)
        if key not in self._compiled:
            function = network_step(
                self.model, request.stepper, request.record_entropies, self._count_trace
            )
            self._compiled[key] = backend.compile_inference(
                function, self.model.variables, self.jit_compile
            )
        return self._compiled[key]

    def _count_trace(self):
        self.trace_count += 1

    @functools.cached_property
    def extend(self):
        """The compiled addition of a finished block to the cache."""
        return backend.compile_inference(
            self.model.denoiser.extend, self.model.variables, self.jit_compile
        )


class _Batch:
    """Samples that are drawn at once; the arguments are those of a `Sampler`, for `n` rows."""

    def __init__(self, sampler, request, settings, conditions, n, progress):
        self.sampler, self.request, self.settings = sampler, request, settings
        self.model, self.conditions, self.n, self.progress = sampler.model, conditions, n, progress
        self.step = sampler.step(request)
        self.calls = np.zeros(n, "int64")
        self.broken, self.seen = [], []  # a bool a call; what was measured, a list a block
        self.frames = []

    def draw(self, key, first_row):
        """The `Samples` of the rows from `first_row`, each of which has draws of its own."""
        request, model, size = self.request, self.model, self.request.size
        prior_key, *keys = random.split(key, request.calls * len(request.blocks) + 1)
        self.first_row = ops.convert_to_tensor(first_row, "int32")
        own_keys = random.row_keys(prior_key, self.first_row, self.n)
        noise = model.process.prior((self.n, request.length), own_keys)
        noise = self.conditions.place(noise) if model.shows_known else noise
        cache = None
        if size < request.length:
            cache = model.denoiser.empty_cache(self.n, request.length)
        end = None if model.tokenizer is None else model.tokenizer.end_id
        written, ended = [], np.zeros(self.n, bool)
        self.frames.append(noise)
        for i, (start, is_open) in enumerate(request.blocks.items()):
            here = self.conditions.columns(start, size)
            if cache is not None:
                here = here._replace(cache=cache, start=ops.convert_to_tensor(start))
            if ended.all() and not request.trajectory:  # what follows in every row is no text
                written.append(here.place(ops.full((self.n, size), end, dtype="int32")))
                continue
            z = noise[:, start : start + size]
            if is_open:
                own_keys = keys[i * request.calls : (i + 1) * request.calls]
                z = self._fill(z, own_keys, here, written, noise[:, start + size :])
            written.append(here.place(z))
            if start + size < request.length:
                cache = self.sampler.extend(cache, written[-1], here.start)
                if end is not None:
                    ended |= (ops.convert_to_numpy(written[-1]) == end).any(axis=1)
        if any(bool(ops.convert_to_numpy(nan)) for nan in self.broken):
            raise ValueError(
                "The network's logits are NaN: its training diverged, or what it is told is not finite."
            )
        tokens = ops.concatenate(written, axis=1)
        frames = None
        if request.trajectory:
            frames = np.stack([ops.convert_to_numpy(z) for z in [*self.frames[:-1], tokens]])
        entropies = self._entropies() if request.record_entropies else None
        return Samples(ops.convert_to_numpy(tokens), self.calls, frames, entropies)

    def _fill(self, z, keys, conditions, before, after):
        """A canvas from `z_1` to `z_0`, a key per call; `before` and `after` stand around it."""
        request, stepper, process = self.request, self.request.stepper, self.model.process
        prediction = done = None
        if self.model.capabilities.self_conditioning:
            prediction = ops.zeros((*ops.shape(z), process.vocabulary_size))
        active = np.ones(self.n, bool)
        if stepper.adaptive:
            done = ops.zeros((self.n,), "bool")
            if process.absorbing:  # a row that is given whole is done before it begins
                done = ops.logical_not(ops.any(process.is_open(z), axis=-1))
            active = ~ops.convert_to_numpy(done)
        stepper = stepper.with_floats(self.settings.floats)
        # The first call takes its own from the key as it is, not from its parts.
        own_keys = random.row_keys(random.split(keys[0], 2)[1], self.first_row, self.n)
        remembered = stepper.init(process, z, own_keys)
        state = State(z, remembered, done, prediction)
        grid = [ops.convert_to_tensor(np.float32(t)) for t in request.grid]
        self.seen.append([])
        for key, t, s in zip(keys, grid[:-1], grid[1:], strict=True):
            if active.any():
                state, seen = self.step(state, t, s, key, self.first_row, conditions, self.settings)
                self.calls += active
                self.broken.append(seen.broken)
                self.seen[-1].append(seen)
                if done is not None:
                    active = ~ops.convert_to_numpy(state.done)
            self.progress.advance(state.z)
            if request.trajectory:
                self.frames.append(ops.concatenate([*before, state.z, after], axis=1))
            elif not active.any():
                break
        return state.z

    def _entropies(self):
        """Sums of entropies, and counts of open tokens, `(blocks, calls, 2)`; NaN for no call."""
        found = np.full((len(self.seen), self.request.calls, 2), np.nan)
        for i, block in enumerate(self.seen):
            for j, seen in enumerate(block):
                found[i, j] = [float(ops.convert_to_numpy(x)) for x in (seen.entropy, seen.num_open)]
        return found


def _joined(parts, n, request):
    """The `Samples` of several batches, of which the last may have rows that only filled it up."""
    entropies = frames = None
    if request.record_entropies:
        found = np.concatenate([part.entropies for part in parts])
        sums = np.nansum(found, axis=0)[~np.isnan(found).all(axis=(0, 2))]  # calls that were made
        entropies = sums[:, 0] / np.maximum(sums[:, 1], 1.0)
    if request.trajectory:
        frames = np.concatenate([part.trajectory for part in parts], axis=1)[:, :n]
    tokens = np.concatenate([part.tokens for part in parts])[:n]
    return Samples(tokens, np.concatenate([part.calls for part in parts])[:n], frames, entropies)
