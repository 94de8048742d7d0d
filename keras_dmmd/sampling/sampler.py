"""The sampler: one compiled step, reused for every call of every batch."""

import functools

import numpy as np

from keras_dmmd import backend, random
from keras_dmmd.sampling.batch import Batch
from keras_dmmd.sampling.buckets import BatchSizes
from keras_dmmd.sampling.network_step import Settings, network_step
from keras_dmmd.sampling.progress import Progress
from keras_dmmd.sampling.request import Samples


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

    Several processes draw a part of the rows each, and all return the whole; the devices of a
    `keras.distribution` divide the rows of every batch.

    Args:
        model: a built `keras_dmmd.DiffusionModel`.
        jit_compile: `"auto"` (XLA on JAX and TensorFlow, eager on Torch) or a bool.

    Attributes:
        trace_count: how many times a step was traced (JAX, TensorFlow), once for each shape.
    """

    def __init__(self, model, jit_compile="auto"):
        self.model = model
        self.trace_count = 0
        self.compiled = backend.COMPILES
        self.jit_compile = backend.COMPILES if jit_compile == "auto" else jit_compile
        self._compiled = {}

    def __call__(self, request, seed, verbose="auto"):
        """The `Samples` of a `Request`."""
        n, conditions = request.n, request.conditions
        if self.compiled:
            has_end = self.model.tokenizer is not None and self.model.tokenizer.end_id is not None
            conditions = conditions.complete(n, request.length, has_end)
        settings = Settings.of(request, self.compiled)
        number, processes = backend.process()
        done, end = (i * n // processes for i in (number, number + 1))
        most, devices = request.max_batch_size, backend.parts()
        sizes = BatchSizes(n, request.batch_size, most, self.compiled, devices)
        calls = request.calls * sum(request.blocks.values()) * -(-(end - done) // sizes.most)
        parts, key = [], random.as_key(seed)
        with backend.gathered(parts) as found, Progress(verbose, calls) as progress:
            while done < end:
                size = sizes.of(end - done)
                rows, num_real = np.minimum(done + np.arange(size), n - 1), min(size, end - done)
                try:
                    batch = Batch(self, request, settings, conditions, rows, num_real, progress)
                    parts.append(batch.draw(key))
                except Exception as error:
                    if size == devices or not backend.is_out_of_memory(error):
                        raise
                    sizes.halve()
                    continue
                done += num_real
        return _joined(sum(found, []), request)

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


def _joined(parts, request):
    """The `Samples` of several batches."""
    entropies = frames = None
    if request.record_entropies:
        found = np.concatenate([part.entropies for part in parts])
        sums = np.nansum(found, axis=0)[~np.isnan(found).all(axis=(0, 2))]  # calls that were made
        entropies = sums[:, 0] / np.maximum(sums[:, 1], 1.0)
    if request.trajectory:
        frames = np.concatenate([part.trajectory for part in parts], axis=1)
    tokens, calls = (np.concatenate(values) for values in zip(*(p[:2] for p in parts), strict=True))
    return Samples(tokens, calls, frames, entropies)
