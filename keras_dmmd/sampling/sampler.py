"""The ancestral sampler: one compiled step, reused for every step of every batch."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.sampling import truncation

# Elements of the logits that one call may hold, about 256 MB in float32 with its temporaries.
MAX_LOGITS = 2**24


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

    Args:
        model: a built `keras_dmmd.DiffusionModel`.
        jit_compile: `"auto"` (XLA on JAX and TensorFlow, eager on Torch) or a bool.

    Attributes:
        trace_count: how many times a step was traced (JAX, TensorFlow), one a shape.
    """

    def __init__(self, model, jit_compile="auto"):
        self.model = model
        self.trace_count = 0
        self.jit_compile = backend.COMPILES_INFERENCE if jit_compile == "auto" else jit_compile
        self._compiled = {}

    def _step(self, top_p):
        def step(z_t, t, s, key, labels, temperature):
            self.trace_count += 1
            noise_key, token_key, posterior_key = random.split(key, 3)
            batch_size = ops.shape(z_t)[0]
            t, s = (ops.broadcast_to(time, (batch_size,)) for time in (t, s))
            logits = self.model.logits(z_t, t, labels=labels, seed=noise_key)
            log_probs = self.model.process.log_mean(logits, z_t, t)
            log_probs = truncation.sharpen(log_probs, temperature, top_p)
            x = random.categorical(log_probs, token_key)
            return self.model.process.sample_posterior(x, z_t, s, t, posterior_key)

        return backend.compile_inference(step, self.model.variables, self.jit_compile)

    def __call__(
        self,
        n,
        steps,
        length,
        seed,
        labels=None,
        temperature=1.0,
        top_p=None,
        batch_size=None,
        trajectory=False,
        verbose="auto",
    ):
        """See `DiffusionModel.generate`."""
        truncation.check(temperature, top_p)
        for name, value in (("n", n), ("steps", steps), ("length", length)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"`{name}` must be an integer of at least 1. Received: {value!r}")
        labels = self._check_labels(labels, n)
        if top_p not in self._compiled:
            self._compiled[top_p] = self._step(top_p)
        step = self._compiled[top_p]
        limit = max(1, MAX_LOGITS // (length * self.model.process.vocabulary_size))
        batch_size = min(n, batch_size or limit)
        progress = _progress(verbose, steps * -(-n // batch_size))
        chunks, rest = [], random.as_key(seed)
        with progress:
            while sum(chunk.shape[-2] for chunk in chunks) < n:
                done = sum(chunk.shape[-2] for chunk in chunks)
                # A chain: a chunk splits its own key, never the one that the next chunks come from.
                key, next_rest = random.split(rest, 2)
                here = None if labels is None else _padded(labels[done : done + batch_size], batch_size)
                try:
                    chunk = self._run(
                        step, key, batch_size, steps, length, here, temperature, trajectory, progress
                    )
                except Exception as error:
                    if batch_size == 1 or not backend.is_out_of_memory(error):
                        raise
                    batch_size = (batch_size + 1) // 2
                    continue
                rest = next_rest
                chunks.append(chunk[..., : n - done, :])
        return np.concatenate(chunks, axis=-2)

    def _run(self, step, key, n, steps, length, labels, temperature, trajectory, progress):
        times = time_grid(steps)
        prior_key, *keys = random.split(key, steps + 1)
        z = self.model.process.prior((n, length), prior_key)
        seen = [z]
        temperature = ops.convert_to_tensor(np.float32(temperature))
        times = [ops.convert_to_tensor(t) for t in times]
        for i in range(steps):
            z = step(z, times[i], times[i + 1], keys[i], labels, temperature)
            progress.advance(z)
            if trajectory:
                seen.append(z)
        if trajectory:
            return np.stack([ops.convert_to_numpy(z) for z in seen])
        return ops.convert_to_numpy(z)

    def _check_labels(self, labels, n):
        if labels is None:
            return None
        labels = np.asarray(labels, "int32")
        if labels.ndim == 0:
            labels = np.full(n, labels)
        if labels.shape != (n,):
            raise ValueError(
                f"`labels` must be one integer or {n} of them, as `n={n}`. "
                f"Received: labels of shape {labels.shape}"
            )
        return labels


def _padded(labels, size):
    """Labels of a last, shorter batch, repeated to `size`, so that no shape compiles twice."""
    return ops.convert_to_tensor(np.resize(labels, size))


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
