"""Sampling from a model: what is asked is checked here, and drawn by a `Sampler`."""

import numpy as np

from keras_dmmd import backend, checks, exporting, random, samplers
from keras_dmmd.sampling import buckets, truncation
from keras_dmmd.sampling import prompts as reading
from keras_dmmd.sampling.endings import Ending, lengths
from keras_dmmd.sampling.grids import calls_of
from keras_dmmd.sampling.request import Request
from keras_dmmd.sampling.sampler import Sampler
from keras_dmmd.training.threads import reads

# Numbers that a position has within a network whose logits are made in tiles, about: those of its
# features. The more rows, the less often the head's kernel is read for a tile.
FEATURES = 512


def elements_per_call():
    """Elements of logits, and of attention from token to token, that the rows of one call may have.

    On accelerators 512 MB of each in float32. On a CPU what stays near its caches but keeps it busy: of
    rows of 128 tokens about 50 for 27 characters, 12 for any vocabulary whose logits are made in tiles,
    each of which was within a fifth of the fastest number on Torch and JAX.
    """
    return 2**20 if backend.on_cpu() else 2**27


class Generation:
    """Mixin of `DiffusionModel`: `generate`."""

    def generate(
        self,
        n=None,
        steps=None,
        seed=0,
        length=None,
        prompts=None,
        known=None,
        labels=None,
        guidance_scale=None,
        temperature=1.0,
        top_p=None,
        sampler=None,
        times=None,
        max_length=None,
        stop_token_ids="auto",
        batch_size=None,
        trajectory=False,
        return_calls=False,
        return_entropies=False,
        jit_compile="auto",
        verbose="auto",
    ):
        """Sample `n` sequences.

        Args:
            n: number of samples; by default that of the prompts, or 1.
            steps: k, network calls per sample, or per block of it, at least 1; by default the model's
                own `steps`. Of a sampler that may end early, the most calls, by default one per token.
            seed: an integer, a `keras.random.SeedGenerator` or a key. The same gives the same samples:
                row i depends on the seed and on i alone, not on `n` or the batches, as far as the
                device's sums do not (another batch size may add up in another order, the more so in
                half precision).
            length: tokens per sample, of a model of blocks whole blocks; by default that of the
                training data.
            prompts: a list of one prompt per sample, or of one for all. A prompt is how the sample
                begins: a string, ids `(m,)`, or a list of such parts with `keras_dmmd.Gap`s between
                them, `["We, the ", Gap(12), " of the"]`. What is given is never altered.
            known: which tokens of `prompts` are given, bool `(n, length)`; `prompts` are then ids
                `(n, length)`.
            labels: one class for all, or `(n,)` of them.
            guidance_scale: strength of classifier-free guidance by the labels, in two network passes
                per call; `None` or 1 is none.
            temperature: of the predictions, at least 0; 0 takes the likeliest token.
            top_p: nucleus in (0, 1], or `None`.
            sampler: a `keras_dmmd.samplers.Stepper` or its name, `"entropy_bound"`; by default the
                model's own.
            times: at which the network is called: `"linear"`, the default, `"cosine"`, or a sequence
                that falls from 1 to 0, with one entry more than there are calls.
            max_length: instead of `length`, the most tokens per sample, the prompt included, as of a
                KerasHub `CausalLM`: so many are returned, and of a model of blocks it may be any
                number, of which the last block is cut.
            stop_token_ids: a sequence of ids. After the first one that is drawn, and is not followed by
                given tokens, a sample is filled with the tokenizer's end token, or where there is none
                with the first of these ids; a text ends with it. `"auto"` is the tokenizer's end token,
                at which a text ends, and after which a model of blocks makes no calls. `None` is none:
                a model of blocks fills every block.
            batch_size: samples drawn at once; by default as many as fit a fixed budget, halved if the
                device still runs out of memory.
            trajectory: whether to return every `z_t` on the way.
            return_calls: whether to return the number of calls that each sample took, too.
            return_entropies: whether to return, too, how sure the network was: the mean entropy of its
                prediction of an open token at every call, in nats.
            jit_compile: `"auto"` is XLA on JAX and TensorFlow, eager on Torch.
            verbose: Keras's progress bar: 0, 1, or `"auto"`, for long runs only.

        Returns:
            int32 numpy `(n, length)`; with `trajectory`, `(calls + 1, n, length)` from `z_1` to `z_0`.
            For prompts that are text, a list of `n` strings, each up to its first end token; with
            `trajectory` ids all the same. With `return_calls` or `return_entropies` a tuple of that and
            what was asked for: int64 `(n,)`, float64 `(calls,)`.

        Raises:
            RuntimeError: another thread trains these weights; in a callback of `fit` they may be read.
        """
        request, wanted, are_texts = self._asked(
            n=n,
            steps=steps,
            length=length,
            prompts=prompts,
            known=known,
            labels=labels,
            guidance_scale=guidance_scale,
            temperature=temperature,
            top_p=top_p,
            sampler=sampler,
            times=times,
            max_length=max_length,
            stop_token_ids=stop_token_ids,
            batch_size=batch_size,
            trajectory=trajectory,
            return_calls=return_calls,
            return_entropies=return_entropies,
            jit_compile=jit_compile,
            verbose=verbose,
        )
        seed = random.as_key(seed)
        if jit_compile not in self._samplers:
            self._samplers[jit_compile] = Sampler(self, jit_compile)
        with reads(self):
            found = self._samplers[jit_compile](request, seed, verbose)
        ending = request.ending
        tokens, path = found.tokens[:, :wanted], found.trajectory
        sizes = [wanted] * request.n
        if ending.closes:
            after = ending.after(tokens)
            tokens, sizes = np.where(after, ending.fill, tokens), (~after).sum(axis=1)
        if trajectory:
            samples = np.concatenate([path[:-1, :, :wanted], tokens[None]])
        elif are_texts:
            pairs = zip(tokens, sizes, strict=True)
            samples = [self.tokenizer.decode(row[:size]) for row, size in pairs]
        else:
            samples = tokens
        more = [(return_calls, found.calls), (return_entropies, found.entropies)]
        more = [value for is_asked, value in more if is_asked]
        return (samples, *more) if more else samples

    def _asked(
        self,
        *,
        n,
        steps,
        length,
        prompts,
        known,
        labels,
        guidance_scale,
        temperature,
        top_p,
        sampler,
        times,
        max_length,
        stop_token_ids,
        batch_size,
        trajectory,
        return_calls,
        return_entropies,
        jit_compile,
        verbose,
    ):
        """What `generate` is asked for, checked: a sweep asks before it begins, for all of its cells.

        Returns:
            `(request, wanted, are_texts)`: a `Request`, tokens of a sample, and whether they are to be
            returned as text.
        """
        length, wanted = lengths(length, max_length, self.length, self.capabilities.block_size)
        n = reading.count(n, prompts)
        for name, value in (("steps", steps), ("batch_size", batch_size)):
            if value is not None:
                checks.count(name, value)
        self.check_length(length)
        truncation.check(temperature, top_p)
        if guidance_scale is not None:
            guidance_scale = checks.number("guidance_scale", guidance_scale, low=-float("inf"))
            if labels is None:
                raise ValueError("`guidance_scale` strengthens `labels`: pass them too.")
        jit_compile = checks.choice("jit_compile", jit_compile, ("auto", True, False))
        checks.verbosity(verbose)
        asked = {"trajectory": trajectory, "return_calls": return_calls}
        for name, value in {**asked, "return_entropies": return_entropies}.items():
            checks.flag(name, value)
        conditions, are_texts = reading.read_prompts(
            prompts, known, n, wanted, self.process.vocabulary_size, self.tokenizer
        )
        conditions = conditions.longer(length)
        ending = Ending.of(stop_token_ids, self.tokenizer, self.process.vocabulary_size, conditions)
        labels = reading.read_labels(labels, n, self.capabilities.num_classes)
        conditions = conditions._replace(labels=labels)
        if self.capabilities.block_size:
            conditions.check_order(self.capabilities.block_size)
        if not self.built:
            self.build((None, length))
        size = self.capabilities.block_size or length
        stepper = self.sampler if sampler is None else samplers.get(sampler)
        grid = self._grid(stepper, steps, times, conditions, size)
        frames = len(grid) * length // size if trajectory else 1
        checks.fits(
            f"n={n} samples of length={length}, trajectory={trajectory},", 4 * n * length * frames
        )
        if self._is_padded(length, jit_compile):
            most = self.capabilities.max_length
            length = size = buckets.up(length) if most is None else min(buckets.up(length), most)
            conditions = conditions.padded(n, wanted, length)
        request = Request(
            n=n,
            length=length,
            size=size,
            stepper=stepper,
            grid=grid,
            conditions=conditions,
            ending=ending,
            temperature=temperature,
            top_p=top_p,
            guidance_scale=guidance_scale,
            batch_size=batch_size,
            max_batch_size=max(1, elements_per_call() // (size * (self._words_at_once + length))),
            trajectory=trajectory,
            record_entropies=return_entropies,
        )
        return request, wanted, are_texts

    def export(self, path, format=None, **options):
        """Write what `generate` does to a file that runs without Keras: `keras_dmmd.exporting.export`.

        Args:
            path: of the file, or of the folder of a SavedModel.
            format: `"onnx"`, `"torch"`, `"stablehlo"`, `"litert"` or `"saved_model"`; by default that
                of the path's ending.
            **options: see `keras_dmmd.exporting.export`.

        Raises:
            ValueError: this backend does not write the format; it says which does.
        """
        with reads(self):
            exporting.export(self, path, format, **options)

    @property
    def _words_at_once(self):
        """Numbers of a position that are there together with those of all others."""
        words = self.process.vocabulary_size
        return min(words, FEATURES) if self.tiling else words

    def _is_padded(self, length, jit_compile):
        """Whether sequences are filled up to one of few lengths, as steps are compiled for each."""
        pads = self.capabilities.padding and self.capabilities.grid is None and backend.COMPILES
        return pads and bool(jit_compile) and length != self.length

    @property
    def trace_count(self):
        """How often a step of `generate` was traced (JAX, TensorFlow): once for each shape and kind."""
        return sum(sampler.trace_count for sampler in self._samplers.values())

    def _grid(self, stepper, steps, times, conditions, size):
        """The times of the calls, by the stepper."""
        stepper.check(self.process)
        if times is not None and not stepper.uses_times:
            raise ValueError(f"{type(stepper).__name__} has times of its own: leave out `times`.")
        num_open = size
        if conditions.known is not None:
            blocks = (~conditions.known).reshape(len(conditions.known), -1, size)
            num_open = int(blocks.sum(axis=2).max())
        asked = calls_of(times) if steps is None else steps
        return stepper.grid(self.process, stepper.steps(asked, self.steps, num_open), times)
