"""One compiled step of a sampler: the network's call, and what the stepper makes of it."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.sampling import truncation
from keras_dmmd.sampling.prediction import Prediction
from keras_dmmd.tensors import certain, entropies
from keras_dmmd.vocabulary import Logits


class Settings(NamedTuple):
    """Numbers that are tensors in a compiled step: other values need no other step.

    Attributes:
        temperature: of the predictions, or `None`: they are left as they are, and have no nucleus.
        top_p: nucleus mass, or `None`.
        guidance_scale: of classifier-free guidance, or `None`.
        floats: those of the stepper, a dict.
    """

    temperature: Any
    top_p: Any
    guidance_scale: Any
    floats: dict

    @classmethod
    def of(cls, request, compiled):
        """Of a `Request`. A compiled step always has a nucleus, which is everything at a mass of 1."""

        def scalar(value):
            return None if value is None else ops.convert_to_tensor(np.float32(value))

        floats = {name: scalar(value) for name, value in request.stepper.floats().items()}
        top_p = truncation.nucleus_mass(request.top_p)
        top_p = 1.0 if compiled and top_p is None else top_p
        plain = not compiled and request.temperature == 1.0 and top_p is None
        temperature = None if plain else request.temperature
        return cls(scalar(temperature), scalar(top_p), scalar(request.guidance_scale), floats)

    @classmethod
    def fixed(cls, stepper, temperature, top_p, guidance_scale):
        """Numbers that stand in a graph, and what has no effect left out."""
        top_p = truncation.nucleus_mass(top_p)
        temperature = None if temperature == 1.0 and top_p is None else temperature
        return cls(temperature, top_p, guidance_scale, stepper.floats())


class State(NamedTuple):
    """What goes from one call to the next.

    Attributes:
        z: ids `(batch, length)`.
        stepper: what the stepper remembers.
        done: which rows need no more calls, bool `(batch,)`, or `None` where none ever is.
        prediction: the network's last one, for self-conditioning, `(batch, length, K)`, or `None`.
    """

    z: Any
    stepper: Any
    done: Any
    prediction: Any


def first_state(model, stepper, z_1, key, rows, done=None):
    """The `State` before the first call, whose key this is.

    Args:
        model: a built `DiffusionModel`.
        stepper: a `keras_dmmd.samplers.Stepper`.
        z_1: ids `(batch, length)`, with the given tokens in their places.
        key: of the first call; what the stepper draws is apart from that.
        rows: numbers of the rows, int32 `(batch,)`.
        done: which rows need no call, bool `(batch,)`, or `None` for a stepper that is not adaptive.
    """
    prediction = None
    if model.capabilities.self_conditioning:
        prediction = ops.zeros((*ops.shape(z_1), model.process.vocabulary_size))
    own_keys = random.row_keys(random.split(key, 2)[1], rows)
    return State(z_1, stepper.init(model.process, z_1, own_keys), done, prediction)


class Seen(NamedTuple):
    """What is read of a call.

    Attributes:
        broken: whether a logit was NaN.
        entropy: the sum of entropies of a row's open tokens' predictions, nats, `(batch,)`, or `None`.
        num_open: how many these are, `(batch,)`, or `None`.
    """

    broken: Any
    entropy: Any = None
    num_open: Any = None


def network_step(model, stepper, record_entropies, on_trace):
    """A function `(state, t, s, key, rows, conditions, settings) -> state, seen`, to be compiled.

    What a row draws depends on the key and on which row of all samples it is, not on its batch.

    Args:
        model: a built `DiffusionModel`.
        stepper: a `keras_dmmd.samplers.Stepper`; its floats come with the settings.
        record_entropies: whether to measure the predictions of open tokens.
        on_trace: called whenever the function's body runs in Python.
    """
    process = model.process

    def step(state, t, s, key, rows, conditions, settings):
        on_trace()
        z_t, batch_size = state.z, ops.shape(state.z)[0]
        noise_key, *keys = random.split(random.row_keys(key, rows), 4)
        t, s = (ops.broadcast_to(time, (batch_size,)) for time in (t, s))
        own = stepper.with_floats(settings.floats)
        told_time = own.time(process, z_t, t, state.stepper)
        logits = model.deferred_logits(
            z_t,
            told_time,
            conditions._replace(prediction=state.prediction, step_size=t - s),
            guidance_scale=settings.guidance_scale,
            seed=noise_key,
        )
        shown_next = None
        if not logits.tiles or state.prediction is not None:
            table = backend.keep_unfused(logits.table(), z_t)
            logits = Logits.of(table)
            shown_next = None if state.prediction is None else ops.softmax(table, axis=-1)
        read = _reader(model, settings, bool(logits.tiles))
        inputs = (z_t, told_time, conditions.no_end, conditions.known, conditions.given)
        prediction = Prediction(
            logits, read, inputs, z_t, process.vocabulary_size, process.where_open(z_t)
        )
        seen = Seen(None)
        if record_entropies:
            seen = _entropies(logits, process, z_t, told_time, conditions)
        found = own.advance(process, prediction, z_t, s, t, state.stepper, keys)
        z_s = conditions.place(found.z) if model.shows_known else found.z
        done = found.done
        if state.done is not None:  # such a row stays as it is, whatever the stepper does
            z_s = ops.where(ops.expand_dims(state.done, -1), z_t, z_s)
            done = state.done if done is None else ops.logical_or(state.done, done)
        seen = seen._replace(broken=prediction.is_broken())
        # As they came in, so that the next call is the same program.
        return backend.split_rows(State(z_s, found.state, done, shown_next)), seen

    return step


def _sharpened(log_probs, settings):
    """Predictions at a temperature, within a nucleus."""
    if settings.temperature is None and settings.top_p is None:
        return log_probs
    if settings.top_p is None or not backend.COMPILES:
        return truncation.sharpen(log_probs, settings.temperature, settings.top_p)
    sharpened = truncation.sharpen(log_probs, settings.temperature)
    return ops.cond(
        settings.top_p < 1.0,
        lambda: truncation.sharpen(sharpened, top_p=settings.top_p),
        lambda: sharpened,
    )


def _reader(model, settings, in_tiles):
    """A function of logits and what is known of their positions, see `Prediction`.

    No text ends before a given part, and what is given is certain. In tiles are open tokens alone.
    """
    process, K = model.process, model.process.vocabulary_size
    log_mean = process.log_mean_open if in_tiles else process.log_mean

    def read(logits, z_t, t, no_end, known, given):
        log_probs = log_mean(logits, z_t, t)
        if no_end is not None:
            end = ops.one_hot(model.tokenizer.end_id, K, dtype="float32")
            ends = ops.logical_and(ops.expand_dims(no_end, -1), end > 0)
            log_probs = ops.where(ends, -float("inf"), log_probs)
        # An absorbing process is certain of every token that it sees.
        if known is not None and not process.absorbing:
            log_probs = ops.where(ops.expand_dims(known, -1), certain(given, K), log_probs)
        return log_probs, _sharpened(log_probs, settings)

    return read


def _entropies(logits, process, z_t, t, conditions):
    """`Seen` of a call: how sure the network is of the tokens that it has to predict."""
    where = process.where_open(z_t, conditions.unknown)
    where = ops.ones_like(z_t, dtype="bool") if where is None else where

    def entropy(logits, z_t, t):
        return entropies(process.log_mean(logits, z_t, t))

    found = ops.sum(logits.each(entropy, z_t, t, where=where), axis=-1)
    return Seen(None, found, ops.sum(ops.cast(where, "float32"), axis=-1))
