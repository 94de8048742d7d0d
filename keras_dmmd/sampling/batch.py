"""The samples of one batch: block after block, call after call."""

import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.sampling import buckets
from keras_dmmd.sampling.network_step import first_state
from keras_dmmd.sampling.request import Samples
from keras_dmmd.tensors import take_rows

# A batch is cut to the rows that are not done yet once these are so small a part of it.
SHARE = 0.25


class Batch:
    """Samples that are drawn at once.

    Args:
        sampler: the `Sampler`.
        request: its `Request`.
        settings: numbers for the compiled step.
        conditions: numpy `Conditions` of all rows of the request.
        rows: numbers of the rows to draw, numpy `(batch,)`. To fill up the batch, the last ones may
            repeat the last row of the request.
        num_real: how many do not.
        progress: told of every call.
    """

    def __init__(self, sampler, request, settings, conditions, rows, num_real, progress):
        self.sampler, self.request, self.settings = sampler, request, settings
        self.model, self.progress = sampler.model, progress
        self.step = sampler.step(request)
        self.n, self.num_real = len(rows), num_real
        self.numbers, self.rows = rows, ops.convert_to_tensor(rows, "int32")
        self.given = request.conditions.known
        self.given = None if self.given is None else self.given[rows]
        self.conditions = take_rows(conditions, rows)
        self.calls = np.zeros(self.n, "int64")
        self.broken, self.seen = [], []  # a bool a call; sums over rows, a list a block
        self.frames = []

    def draw(self, key):
        """The `Samples` of the rows, each of which has draws of its own."""
        request, model, size = self.request, self.model, self.request.size
        prior_key, *keys = random.split(key, request.calls * len(request.blocks) + 1)
        noise = model.process.prior((self.n, request.length), random.row_keys(prior_key, self.rows))
        noise = self.conditions.place(noise) if model.shows_known else noise
        cache = None
        if size < request.length:
            cache = backend.split_rows(model.denoiser.empty_cache(self.n, self._room()))
        written, ended = [], np.zeros(self.n, bool)
        self.frames.append(noise)
        for i, (start, is_open) in enumerate(request.blocks.items()):
            here = self.conditions.columns(start, size)
            if cache is not None:
                here = here._replace(cache=cache, start=ops.convert_to_tensor(start))
            z = noise[:, start : start + size]
            todo = self._is_open(start) & ~ended
            if is_open and (todo.any() or request.trajectory):
                own_keys = keys[i * request.calls : (i + 1) * request.calls]
                z = self._fill(z, own_keys, here, todo, (written, noise[:, start + size :]))
            if ended.any():  # what follows is no text
                z = ops.where(ended[:, None], request.ending.fill, z)
            written.append(here.place(z))
            if start + size < request.length:
                # As before, so that the next block's calls are the same program.
                cache = backend.split_rows(self.sampler.extend(cache, written[-1], here.start))
                if request.ending.ids:
                    tokens = backend.to_numpy(written[-1])
                    ended |= request.ending.found(tokens, self.numbers, start).any(axis=1)
        if any(bool(backend.to_numpy(nan)) for nan in self.broken):
            raise ValueError(
                "The network's logits are NaN: its training diverged, or what it is told is not finite."
            )
        tokens = ops.concatenate(written, axis=1)
        frames = None
        if request.trajectory:
            frames = np.stack([backend.to_numpy(z) for z in [*self.frames[:-1], tokens]])
            frames = frames[:, : self.num_real]
        tokens, calls = backend.to_numpy(tokens)[: self.num_real], self.calls[: self.num_real]
        words = self.model.process.vocabulary_size
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < words:
            raise ValueError(
                f"{request.stepper!r} leaves tokens from {tokens.min()} to {tokens.max()} after the "
                f"last call, where all must be ids from 0 to {words - 1}: nothing may be masked there."
            )
        return Samples(tokens, calls, frames, self._entropies() if request.record_entropies else None)

    def _room(self):
        """Tokens that a cache has room for: few numbers, as steps are compiled for each."""
        length, most = self.request.length, self.model.capabilities.max_length
        if not self.sampler.compiled:
            return length
        return buckets.up(length) if most is None else min(buckets.up(length), most)

    def _is_open(self, start):
        """Which rows have something to fill in a block, bool `(batch,)`; none that only fills up."""
        is_open = np.arange(self.n) < self.num_real
        if self.given is None or len(self.request.blocks) == 1:
            return is_open
        return is_open & ~self.given[:, start : start + self.request.size].all(axis=1)

    def _fill(self, z, keys, conditions, todo, around):
        """A canvas from `z_1` to `z_0`, a key per call; `around` stand what is before and after it."""
        request, stepper, process = self.request, self.request.stepper, self.model.process
        done = None
        if stepper.adaptive:
            done = ~todo
            if process.absorbing:  # a row that is given whole is done before it begins
                is_open = backend.to_numpy(process.is_open(z)).any(axis=1)
                done, todo = done | ~is_open, todo & is_open
            done = ops.convert_to_tensor(done)
        stepper = stepper.with_floats(self.settings.floats)
        state = first_state(self.model, stepper, z, keys[0], self.rows, done)
        part = _Part(state, self.rows, self.num_real, conditions, todo)
        grid = [ops.convert_to_tensor(np.float32(t)) for t in request.grid]
        self.seen.append([])
        for key, t, s in zip(keys, grid[:-1], grid[1:], strict=True):
            if part.active.any():
                if not request.trajectory:
                    part.shrink(self.sampler.compiled)
                state, seen = self.step(
                    part.state, t, s, key, part.rows, part.conditions, self.settings
                )
                self.calls[part.places[part.active]] += 1
                self.broken.append(seen.broken)
                self.seen[-1].append((seen, part.active))
                part.advance(state)
            self.progress.advance(part.state.z)
            if request.trajectory:
                before, after = around
                self.frames.append(ops.concatenate([*before, part.state.z, after], axis=1))
            elif not part.active.any():
                break
        return part.tokens()

    def _entropies(self):
        """Sums of entropies, and counts of open tokens, `(blocks, calls, 2)`; NaN for no call."""
        found = np.full((len(self.seen), self.request.calls, 2), np.nan)
        for i, block in enumerate(self.seen):
            for j, (seen, active) in enumerate(block):
                sums = (backend.to_numpy(x) for x in (seen.entropy, seen.num_open))
                found[i, j] = [float(x[active].sum(dtype="float64")) for x in sums]
        return found


class _Part:
    """The rows of a batch that are still worked on.

    Attributes:
        state: of the compiled step.
        rows: numbers of the rows, a tensor.
        num_real: how many do not repeat another one.
        conditions: of the rows.
        active: which rows are not done and do not repeat another one, bool numpy.
        places: where in the batch each row stands, numpy.
    """

    def __init__(self, state, rows, num_real, conditions, active):
        self.num_real, self.active = num_real, active
        self._take(state, rows, conditions)
        self.places = np.arange(len(active))
        self._whole = None  # ids of the whole batch, once it was cut

    def _take(self, state, rows, conditions):
        rest = {"start": conditions.start, "cache": conditions.cache}
        conditions = conditions._replace(start=None, cache=None)
        self.state, self.rows, conditions = backend.split_rows((state, rows, conditions))
        self.conditions = conditions._replace(**rest)

    def advance(self, state):
        self.state = state
        if state.done is not None:
            self.active = self.active & ~backend.to_numpy(state.done)

    def shrink(self, compiled):
        """Leave out rows that are done, where these are many."""
        left = np.flatnonzero(self.active)
        if len(left) > SHARE * self.num_real:
            return
        size = buckets.up(len(left), backend.parts()) if compiled else len(left)
        self._put()
        chosen = np.resize(left, size)
        start = self.conditions.start
        parts = (self.state, self.rows, self.conditions._replace(start=None))
        state, rows, conditions = take_rows(parts, chosen)
        self._take(state, rows, conditions._replace(start=start))
        self.places, self.active = self.places[chosen], np.arange(size) < len(left)
        self.num_real = len(left)

    def _put(self):
        """Write down the ids as they are."""
        z = backend.to_numpy(self.state.z)
        if self._whole is None:
            self._whole = z.copy()
        else:
            self._whole[self.places] = z

    def tokens(self):
        """Ids of the whole batch."""
        if self._whole is None:
            return self.state.z
        self._put()
        return ops.convert_to_tensor(self._whole)
