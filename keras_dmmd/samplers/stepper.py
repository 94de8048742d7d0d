"""The contract of a sampler: what becomes of a canvas once the network has been asked."""

import copy
import json
import re
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_dmmd import random
from keras_dmmd.fingerprints import value_text
from keras_dmmd.sampling.grids import time_grid
from keras_dmmd.tensors import gather


class Step(NamedTuple):
    """What a stepper returns.

    Attributes:
        z: the ids at the next time, `(batch, length)`.
        state: what the stepper remembers, of the same structure and shapes as before; `None` where it
            is what it was.
        done: which rows need no more network calls, bool `(batch,)`, or `None` where none ever is
            before the last one.

    Example:

    ```python
    z = np.zeros((2, 64), "int32")
    step = kd.samplers.Step(z, done=np.array([True, False]))  # row 0 needs no more calls
    ```
    """

    z: Any
    state: Any = None
    done: Any = None


class Stepper:
    """Base class: how samples move from one time to the next.

    A sampler calls the network on a grid of times `1 = t_k > … > t_0 = 0`; after each call a stepper
    says which tokens take what the network predicted. Its methods `init`, `time` and `step` are pure
    functions of tensors, compiled together with the network's call. What `get_config` returns decides
    what is compiled; floats in it are the exception, for which tensors stand in the compiled step, so
    that they may be swept without compiling again: each must be kept under its own name,
    `self.threshold`, and be read from there.

    Write `step`, and `get_config` where there are arguments. The rest is for steppers that remember
    something, that have times of their own, or that end early.

    Attributes:
        absorbing_only: whether the stepper is for masked diffusion alone.
        adaptive: whether rows may be done before the last call. `steps` is then how many calls a sample
            takes at most, by default as many as there are tokens to fill, and the sampler looks after
            every call whether all are done.
        uses_times: whether `times` of `generate` has a meaning.
        one_call_is_enough: whether `steps` may be 1.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class AllAtOnce(kd.samplers.Stepper):
        '''The first call fills every token.'''

        def step(self, process, prediction, z_t, s, t, state, keys):
            return kd.samplers.Step(prediction.draw(keys[0]), state)

    teacher = kd.from_preset("digits_masked_teacher")
    images = teacher.generate(4, steps=1, sampler=AllAtOnce(), seed=0)
    ```
    """

    absorbing_only = False
    adaptive = False
    uses_times = True
    one_call_is_enough = True

    # On the host, before anything runs ------------------------------------------------------------

    def check(self, process):
        """Raise a `ValueError` where a process cannot have this stepper."""
        if self.absorbing_only and not process.absorbing:
            raise ValueError(
                f"`sampler` must fit the process. {name_of(type(self))!r} opens masks, so it is for "
                f"masked diffusion: {type(process).__name__} has tokens that change again. Use "
                "'ancestral' or 'psi'."
            )

    def steps(self, asked, default, num_open):
        """The number of network calls.

        Args:
            asked: what `generate` was told, or `None`.
            default: the model's own.
            num_open: tokens that are to be filled in a row, the most of any row.
        """
        if asked is not None:
            return asked
        return max(1, num_open) if self.adaptive else default

    def grid(self, process, steps, times):
        """The times of the calls and 0, float32 numpy `(steps + 1,)`, never rising."""
        del process
        return time_grid(steps, times)

    # In the compiled step -------------------------------------------------------------------------

    def init(self, process, z_1, key):
        """What the stepper remembers before the first call: tensors in tuples.

        Args:
            process: a `keras_dmmd.DiffusionProcess`.
            z_1: ids `(batch, length)`, with the given tokens in their places.
            key: for draws.
        """
        del process, z_1, key
        return ()

    def time(self, process, z_t, t, state):
        """The time that the network is told, `(batch,)`: that of the grid, unless it is overridden."""
        del process, z_t, state
        return t

    def step(self, process, prediction, z_t, s, t, state, keys):
        """From `z_t` to `z_s`.

        Args:
            process: a `keras_dmmd.DiffusionProcess`.
            prediction: a `keras_dmmd.samplers.Prediction`.
            z_t: ids `(batch, length)`.
            s, t: the next time and this one, `(batch,)`. The last call has `s = 0`: after it nothing
                may be open.
            state: what `init` or the last `step` returned.
            keys: three independent keys: for tokens, for positions, and one more.

        Returns:
            A `Step`.
        """
        raise NotImplementedError(f"{type(self).__name__} must write `step`.")

    def advance(self, process, prediction, z_t, s, t, state, keys):
        """What `step` returns, as the next call takes it: ids of the canvas's dtype, and a state.

        What is called from outside, also by a stepper around this one.

        Raises:
            ValueError: it returned no `Step` of ids of the shape of `z_t`.
        """
        found, name = self.step(process, prediction, z_t, s, t, state, keys), type(self).__name__
        if not isinstance(found, Step):
            raise ValueError(f"`step` of {name} must return a Step(z, state). Received: {type(found)}")
        z = ops.convert_to_tensor(found.z)
        shape, kind = tuple(z.shape), keras.backend.standardize_dtype(z.dtype)
        pairs = zip(shape, z_t.shape, strict=False)
        differ = any(one != other for one, other in pairs if None not in (one, other))
        if len(shape) != 2 or differ or "int" not in kind:
            raise ValueError(
                f"`step` of {name} must return ids of shape {tuple(z_t.shape)}. Received: {kind} of "
                f"shape {shape}"
            )
        state = state if found.state is None else found.state
        return Step(ops.cast(z, z_t.dtype), state, found.done)

    # Serialisation --------------------------------------------------------------------------------

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def floats(self):
        """The arguments that are floats, by their names."""
        return {name: value for name, value in self.get_config().items() if isinstance(value, float)}

    def with_floats(self, values):
        """This stepper with other values in the place of its floats, tensors for instance."""
        hidden = sorted(values.keys() - vars(self).keys())
        if hidden:
            raise ValueError(
                f"{type(self).__name__} must keep {', '.join(hidden)} under the names of its config: a "
                "compiled step reads other values from there."
            )
        other = copy.copy(self)
        vars(other).update(values)
        return other

    def compile_key(self):
        """What tells one compiled step from another: class and arguments, but the floats' values."""
        fixed = {k: "float" if isinstance(v, float) else v for k, v in self.get_config().items()}
        return type(self), json.dumps(fixed, sort_keys=True, default=value_text)

    def __repr__(self):
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class MaskStepper(Stepper):
    """Base class of steppers that open masked tokens for good, as many at a time as they like.

    What they remember begins with the number of tokens that were open at first, `(batch,)`: the share
    of these that still is says what time it is.
    """

    absorbing_only = True
    adaptive = True

    def init(self, process, z_1, key):
        del key
        return (count_open(process, z_1),)

    def open_tokens(self, process, x, z_t, chosen, s, state):
        """Put `x` where `chosen` of the open tokens; at `s = 0` into all of them.

        Returns:
            A `Step`, done where nothing is open any more.
        """
        chosen = ops.logical_or(chosen, ops.expand_dims(s <= 0.0, -1))
        opened = ops.logical_and(process.is_open(z_t), chosen)
        z_s = ops.where(opened, x, z_t)
        return Step(z_s, state, ops.logical_not(ops.any(process.is_open(z_s), axis=-1)))

    def time_by_count(self, process, z_t, state):
        """The time at which as large a share of tokens is masked as is now, `(batch,)`.

        A grid does not know how many tokens have been opened. The network learned from tokens of which
        the share `1 - α_t` was masked.
        """
        share = count_open(process, z_t) / ops.maximum(state[0], 1.0)
        return process.time_of(1.0 - share)


def count_open(process, z_t):
    """How many tokens of each row are open, float32 `(batch,)`."""
    return ops.sum(ops.cast(process.is_open(z_t), "float32"), axis=-1)


def draw_with_score(log_probs, sharpened, race):
    """A token and its log-probability as predicted, `(rows, positions)` each: for `Prediction.each`."""
    x = random.winner(sharpened, race)
    return x, gather(log_probs, x)


def ranks(scores, where):
    """The rank of each position by its score among those in `where`, from 0 for the highest.

    Args:
        scores: floats `(batch, length)`.
        where: bool `(batch, length)`; all others come last.

    Returns:
        int32 `(batch, length)`. Of equal scores the earlier position comes first.
    """
    scores = ops.where(where, scores, -float("inf"))
    order = ops.argsort(-scores, axis=-1)
    return ops.cast(ops.argsort(order, axis=-1), "int32")


def name_of(cls):
    """The name of a stepper's class in snake case, `"entropy_bound"`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
