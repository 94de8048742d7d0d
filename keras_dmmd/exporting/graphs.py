"""What is exported: pure functions of tensors, which draw what `generate` draws."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.conditions import Conditions
from keras_dmmd.samplers import Stepper
from keras_dmmd.sampling.network_step import Settings, State, first_state, network_step


@dataclasses.dataclass(frozen=True)
class Input:
    """A tensor that a graph takes.

    Attributes:
        name: of it.
        dtype: `"int32"`, `"float32"` or `"bool"`.
        shape: sizes; the first is `None` where the batch is free.
        meaning: one line for who runs it.
    """

    name: str
    dtype: str
    shape: tuple
    meaning: str


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A function that is exported, of tensors in the order of its inputs.

    Args:
        model: a built `DiffusionModel`.
        stepper: a `keras_dmmd.samplers.Stepper`.
        grid: times of the calls, float32 numpy `(calls + 1,)`.
        length: tokens of a sequence.
        batch: rows, or `None` for any number.
        settings: the `Settings` of the step, fixed in the graph.
    """

    model: Any
    stepper: Any
    grid: np.ndarray
    length: int
    batch: int | None
    settings: Settings

    output = "tokens"

    @property
    def calls(self):
        return len(self.grid) - 1

    @property
    def inputs(self):
        """The `Input`s, in order."""
        rows, tokens = (self.batch,), (self.batch, self.length)
        found = [
            Input("seeds", "int32", rows, "the seed of each row"),
            Input("rows", "int32", rows, "which row of its seed's samples each one is, from 0"),
            Input("known", "bool", tokens, "which tokens are given"),
            Input("given", "int32", tokens, "ids of the tokens that are given, any where none is"),
        ]
        number = self.model.capabilities.num_classes
        if number:
            found.append(Input("labels", "int32", rows, f"the class of each row, {number} for none"))
        return [*self.own_inputs(), *found]

    def own_inputs(self):
        return []

    def __call__(self, *tensors):
        """Ids int32 `(batch, length)`."""
        return ops.cast(self.run(*self.read(tensors)), "int32")

    def read(self, tensors):
        """The inputs by their names, a key of all rows, and `Conditions`: what `run` takes."""
        values = {i.name: x for i, x in zip(self.inputs, tensors, strict=True)}
        return values, random.seed_keys(values["seeds"]), self._conditions(values)

    def check(self, most):
        """Raise a `ValueError` where there is no such graph; `most` calls are written out."""

    def run(self, values, key, conditions):
        """Ids, of the inputs by their names, and a key of all rows."""
        raise NotImplementedError

    def _conditions(self, values):
        known, no_end = values["known"], None
        if self.model.tokenizer is not None and self.model.tokenizer.end_id is not None:
            no_end = ops.logical_and(ops.logical_not(_after(known)), ops.logical_not(known))
        return Conditions(
            labels=values.get("labels"), known=known, given=values["given"], no_end=no_end
        )

    def _split(self, key):
        """Keys of the prior, and of every call of every block."""
        return random.split(key, 1 + self.calls * len(self._starts))

    @property
    def _size(self):
        """Tokens that are written at once."""
        return self.model.capabilities.block_size or self.length

    @property
    def _starts(self):
        return range(0, self.length, self._size)

    def _prior(self, values, key, conditions):
        shape = ops.shape(values["known"])
        noise = self.model.process.prior(shape, random.row_keys(key, values["rows"]))
        return conditions.place(noise) if self.model.shows_known else noise

    def _step(self):
        return network_step(self.model, self.stepper, False, lambda: None)


class Sampler(Graph):
    """All calls, one after the other, without a loop: from seeds and prompts to tokens."""

    def check(self, most):
        number = self.calls * len(self._starts)
        if number > most:
            raise ValueError(
                "The calls of an exported sampler are written out one after the other, at most "
                f"{most} of them. Received: {number}. Distil the model, give `steps`, or export "
                '`kind="step"`.'
            )

    def run(self, values, key, conditions):
        prior_key, *keys = self._split(key)
        noise = self._prior(values, prior_key, conditions)
        if len(self._starts) > 1:
            return self._blocks(values, noise, keys, conditions)
        return conditions.place(self._fill(values, noise, keys, conditions))

    def _fill(self, values, z, keys, conditions, done=None):
        """A canvas from `z_1` to `z_0`, a key per call."""
        if self.stepper.adaptive:
            done = ops.zeros_like(values["rows"], "bool") if done is None else done
            if self.model.process.absorbing:
                is_open = ops.any(self.model.process.is_open(z), axis=-1)
                done = ops.logical_or(done, ops.logical_not(is_open))
        else:
            done = None
        step = self._step()
        state = first_state(self.model, self.stepper, z, keys[0], values["rows"], done)
        for key, t, s in zip(keys, self.grid[:-1], self.grid[1:], strict=True):
            times = (ops.convert_to_tensor(np.float32(time)) for time in (t, s))
            state, _ = step(state, *times, key, values["rows"], conditions, self.settings)
        return state.z

    def _blocks(self, values, noise, keys, conditions):
        """Block after block, with what a network keeps of finished ones."""
        denoiser, size = self.model.denoiser, self._size
        cache = denoiser.empty_cache(ops.shape(noise)[0], self.length)
        end = None if self.model.tokenizer is None else self.model.tokenizer.end_id
        written, ended = [], ops.zeros_like(values["rows"], "bool")
        may_end = _after(values["known"])
        for i, start in enumerate(self._starts):
            here = conditions.columns(start, size)
            here = here._replace(cache=cache, start=ops.convert_to_tensor(start, "int32"))
            own_keys = keys[i * self.calls : (i + 1) * self.calls]
            z = self._fill(values, noise[:, start : start + size], own_keys, here, ended)
            z = z if end is None else ops.where(ops.expand_dims(ended, -1), end, z)
            written.append(here.place(z))
            if end is not None:
                ends = ops.logical_and(may_end[:, start : start + size], ops.equal(written[-1], end))
                ended = ops.logical_or(ended, ops.any(ends, axis=-1))
            if start + size < self.length:
                cache = denoiser.extend(cache, written[-1], here.start)
        return ops.concatenate(written, axis=1)


class Step(Graph):
    """One call: from tokens at time t to those at time s."""

    def check(self, most):
        if len(self._starts) > 1:
            raise ValueError(
                "A model of blocks keeps what it has written in a cache, so that its step is none by "
                'itself: export `kind="sampler"`.'
            )
        if type(self.stepper).init is not Stepper.init or self.model.capabilities.self_conditioning:
            raise ValueError(
                f"{self.stepper!r} of this model remembers something from call to call, so that its "
                'step is none by itself: export `kind="sampler"`, or take the sampler "ancestral".'
            )

    def own_inputs(self):
        return [
            Input("z", "int32", (self.batch, self.length), "the canvas at time t"),
            Input("t", "float32", (), "the time of the canvas, 1 at first"),
            Input("s", "float32", (), "the next time, 0 at last"),
            Input("call", "int32", (), f"which call it is, from 0 to {self.calls - 1}"),
        ]

    def run(self, values, key, conditions):
        return self.call(values, key, conditions)[0]

    def call(self, values, key, conditions):
        """Ids, and whether a logit was NaN, a bool tensor."""
        key = backend.pick(key, 1 + self.calls, values["call"] + 1)
        state = State(values["z"], (), None, None)
        found, seen = self._step()(
            state, values["t"], values["s"], key, values["rows"], conditions, self.settings
        )
        return found.z, seen.broken


class Prior(Graph):
    """The canvas before the first call."""

    def run(self, values, key, conditions):
        return self._prior(values, self._split(key)[0], conditions)


def _after(known):
    """Which places come after all that is given, bool `(batch, length)`."""
    places = ops.arange(1, known.shape[1] + 1, dtype="int32")
    return places > ops.max(ops.where(known, places, 0), axis=-1, keepdims=True)


KINDS = {"sampler": Sampler, "step": Step, "prior": Prior}
