"""The ancestral sampler: one compiled step, reused for every step of every batch."""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.sampling import truncation
from keras_dmmd.sampling.conditions import Conditions


def max_logits():
    """Elements of the logits that one call may hold.

    On accelerators about 256 MB in float32 with its temporaries. On a CPU what keeps activations in
    its caches: XLA took half the time of one large batch, with 60 instead of 1,000 digits at once.
    """
    return 2**16 if backend.on_cpu() else 2**24


def time_grid(steps):
    """`1 = t_k > ... > t_0 = 0`, evenly spaced, `(steps + 1,)` float32 numpy."""
    return np.linspace(1.0, 0.0, steps + 1, dtype="float32")


class Sampler:
    """Draws from a `DiffusionModel`, teacher or student, by `k` ancestral steps.

    A step from `t` to `s` draws `x ~ Cat(x̂(z_t, t))` and then `z_s ~ q(z_s | z_t, x)`. The network
    runs in its dtype policy's precision; log-probabilities, posteriors and draws are float32. The
    step is compiled once a shape (XLA on JAX and TensorFlow; eager on Torch, `torch.compile` with
    `jit_compile=True`) and called from a Python loop: on accelerators dispatch runs ahead of the
    computation, and on CPU it beats a compiled loop.

    Given tokens stay what they are, and the others are drawn around them. Where the network can tell
    them from noise (a masked process, or a denoiser that is told), they stand in every `z_t`; where it
    cannot, they take the path of corrupted data, `q(z_s | z_t, given)`, which is what it knows.

    A model of blocks takes its `k` steps block after block; what it keeps of finished ones is a cache
    of fixed size, so that the step is compiled once and each block costs the same. A block that is
    given whole in every row costs no step, nor does any after the last row has ended its text.

    Args:
        model: a built `keras_dmmd.DiffusionModel`.
        jit_compile: `"auto"` (XLA on JAX and TensorFlow, eager on Torch) or a bool.

    Attributes:
        trace_count: how many times a step was traced (JAX, TensorFlow), one a shape.
    """

    def __init__(self, model, jit_compile="auto"):
        self.model = model
        self.trace_count = 0
        self.jit_compile = backend.COMPILES if jit_compile == "auto" else jit_compile
        self._compiled = {}

    def _step(self, top_p):
        model, process = self.model, self.model.process

        def step(z_t, t, s, key, told, temperature, guidance_scale, prediction, blocks):
            self.trace_count += 1
            noise_key, token_key, posterior_key = random.split(key, 3)
            batch_size = ops.shape(z_t)[0]
            t, s = (ops.broadcast_to(time, (batch_size,)) for time in (t, s))
            logits = model.logits(
                z_t,
                t,
                labels=told.labels,
                known=told.known,
                guidance_scale=guidance_scale,
                seed=noise_key,
                prediction=prediction,
                **blocks,
            )
            logits = backend.apart(logits, z_t)
            broken = ops.isnan(ops.sum(logits))
            if prediction is not None:
                prediction = ops.softmax(logits, axis=-1)
            log_probs = process.log_mean(logits, z_t, t)
            if told.no_end is not None:
                end = ops.one_hot(model.tokenizer.end_id, process.vocabulary_size, dtype="float32")
                ends = ops.logical_and(ops.expand_dims(told.no_end, -1), end > 0)
                log_probs = ops.where(ends, -float("inf"), log_probs)
            log_probs = truncation.sharpen(log_probs, temperature, top_p)
            x = told.hold(random.categorical(log_probs, token_key))
            z_s = process.sample_posterior(x, z_t, s, t, posterior_key)
            z_s = told.hold(z_s) if model.shows_known else z_s
            return z_s, prediction, broken

        return backend.compile_inference(step, model.variables, self.jit_compile)

    def __call__(
        self,
        n,
        steps,
        length,
        seed,
        told=Conditions(),  # noqa: B008
        temperature=1.0,
        top_p=None,
        guidance_scale=None,
        batch_size=None,
        trajectory=False,
        verbose="auto",
    ):
        """See `DiffusionModel.generate`; `told` are `Conditions` of `n` rows."""
        truncation.check(temperature, top_p)
        for name, value in (("n", n), ("steps", steps), ("length", length)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"`{name}` must be an integer of at least 1. Received: {value!r}")
        if guidance_scale is not None and told.labels is None:
            raise ValueError("`guidance_scale` strengthens `labels`: pass them too.")
        if top_p not in self._compiled:
            self._compiled[top_p] = self._step(top_p)
        step = self._compiled[top_p]
        scales = [None if x is None else _scalar(x) for x in (temperature, guidance_scale)]
        size = self.model.block_size or length
        limit = max(1, max_logits() // (size * self.model.process.vocabulary_size))
        if batch_size is None:
            batch_size = -(-n // -(-n // limit))  # equal parts: what fills up the last one is wasted
        batch_size = min(n, batch_size)
        starts = {start: not told.are_all_known(start, size) for start in range(0, length, size)}
        if size == length:
            starts[0] = True  # the calls that were asked for
        progress = _progress(verbose, steps * sum(starts.values()) * -(-n // batch_size))
        chunks, rest = [], random.as_key(seed)
        with progress:
            while sum(chunk.shape[-2] for chunk in chunks) < n:
                done = sum(chunk.shape[-2] for chunk in chunks)
                # A chain: a chunk splits its own key, never the one that the next chunks come from.
                key, next_rest = random.split(rest, 2)
                try:
                    here = told.rows(done, batch_size)
                    chunk = self._run(
                        step, key, batch_size, steps, starts, size, here, scales, trajectory, progress
                    )
                except Exception as error:
                    if batch_size == 1 or not backend.is_out_of_memory(error):
                        raise
                    batch_size = (batch_size + 1) // 2
                    continue
                rest = next_rest
                chunks.append(chunk[..., : n - done, :])
        return np.concatenate(chunks, axis=-2)

    def _run(self, step, key, n, steps, starts, size, told, scales, trajectory, progress):
        """A batch of `n`; `starts` says of the start of every block whether it is to be filled."""
        model, length = self.model, size * len(starts)
        prior_key, *keys = random.split(key, steps * len(starts) + 1)
        noise = model.process.prior((n, length), prior_key)
        noise = told.hold(noise) if model.shows_known else noise
        cache = model.denoiser.empty_cache(n, length) if size < length else None
        end = None if model.tokenizer is None else model.tokenizer.end_id
        written, seen, broken, ended = [], [noise], [], np.zeros(n, bool)
        for i, (start, open_block) in enumerate(starts.items()):
            here = told.columns(start, size)
            if ended.all() and not trajectory:  # what follows in every row is no text
                written.append(here.hold(ops.full((n, size), end, dtype="int32")))
                continue
            blocks = {} if cache is None else {"cache": cache, "start": ops.convert_to_tensor(start)}
            z = canvas = noise[:, start : start + size]
            if open_block:
                own_keys = keys[i * steps : (i + 1) * steps]
                for z, nan in self._canvas(step, canvas, own_keys, here, scales, blocks):
                    progress.advance(z)
                    broken.append(nan)
                    if trajectory:
                        seen.append(ops.concatenate([*written, z, noise[:, start + size :]], axis=1))
            written.append(here.hold(z))
            if start + size < length:
                cache = self._extend(cache, written[-1], blocks["start"])
                if end is not None:
                    ended |= (ops.convert_to_numpy(written[-1]) == end).any(axis=1)
        if any(bool(ops.convert_to_numpy(nan)) for nan in broken):
            raise ValueError(
                "The network's logits are NaN: its training diverged, or what it is told is not finite."
            )
        z = ops.concatenate(written, axis=1)
        if trajectory:
            return np.stack([ops.convert_to_numpy(z) for z in [*seen[:-1], z]])
        return ops.convert_to_numpy(z)

    def _canvas(self, step, z, keys, told, scales, blocks):
        """Yield `z_s` after every step from `z_1`, one step a key, and whether a logit was NaN."""
        grid, prediction = [_scalar(t) for t in time_grid(len(keys))], None
        if self.model.self_conditioning:
            prediction = ops.zeros((*ops.shape(z), self.model.process.vocabulary_size))
        for key, t, s in zip(keys, grid[:-1], grid[1:], strict=True):
            z, prediction, broken = step(z, t, s, key, told, *scales, prediction, blocks)
            yield z, broken

    @functools.cached_property
    def _extend(self):
        """The compiled addition of a finished block to the cache."""
        return backend.compile_inference(
            self.model.denoiser.extend, self.model.variables, self.jit_compile
        )


def _scalar(value):
    return ops.convert_to_tensor(np.float32(value))


class _progress(contextlib.AbstractContextManager):
    """Keras's progress bar, one step a network call; silent for short runs under `"auto"`."""

    def __init__(self, verbose, total):
        self.bar = None
        self.total, self.done = total, 0
        if verbose == "auto":
            verbose = total >= 256
        if verbose:
            self.bar = keras.utils.Progbar(total, unit_name="call")

    def advance(self, z):
        if self.bar is None:
            return
        self.done += 1
        if self.done % 8 == 0:
            backend.synchronize(z)  # or the bar would run ahead of the device
        self.bar.update(min(self.done, self.total))

    def __exit__(self, *error):
        if self.bar is not None and error[0] is None:
            self.bar.update(self.total, finalize=True)
