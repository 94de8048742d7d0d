"""What a student proposes: data corrupted, its sample of them, and that corrupted again."""

import dataclasses
from typing import Any, NamedTuple

from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.conditions import Conditions
from keras_dmmd.distillation.calls import Calls
from keras_dmmd.tensors import entropies
from keras_dmmd.training.corruption import batch_size_of, corrupt_batch

RENOISE = ("posterior", "forward", "mixed")
TIMES = ("grid", "random")


class Draw(NamedTuple):
    """What the student made of a batch.

    Attributes:
        logits: its `Logits` at `z_t`.
        x: a sample of its prediction, `(batch, length)`.
        entropy: of its prediction, in nats, `(batch, length)`; 0 where a token is certain. `None` where
            nobody asked.
        z_t, z_s: corrupted data, and the student's sample corrupted again, `(batch, length)`.
        t, s: the times of these, `(batch,)`.
        conditions: the `Conditions` that the networks are told.
    """

    logits: Any
    x: Any
    entropy: Any
    z_t: Any
    z_s: Any
    t: Any
    s: Any
    conditions: Conditions


def drawn_tokens(process, logits, z_t, t, key, with_entropy=False):
    """A token of every position, `(batch, length)`, and the entropies that they are drawn with.

    Args:
        process: the `DiffusionProcess`.
        logits: a network's `Logits` at `z_t`, which no gradient goes through.
        z_t, t: ids `(batch, length)` and times `(batch,)`.
        key: of the draw.
        with_entropy: whether the second result is `(batch, length)` nats, or `None`.
    """

    def draw(logits, z_t, t, race):
        log_probs = process.log_mean(ops.stop_gradient(logits), z_t, t)
        x = random.winner(log_probs, race)
        return (x, entropies(log_probs)) if with_entropy else (x,)

    race = random.race(ops.shape(z_t), process.vocabulary_size, key)
    with backend.no_gradient():
        where = process.where_open(z_t)
        x, *entropy = logits.each(draw, z_t, t, race, where=where)
    x = ops.cast(x, "int32")
    x = x if where is None else ops.where(where, x, z_t)
    return x, entropy[0] if with_entropy else None


def together(draws):
    """One `Draw` of the rows of several, which share their conditions and their student's `Logits`."""
    number = len(draws)
    logits = draws[0].logits
    features = tuple(ops.concatenate([x] * number) for x in logits.features)
    conditions = [None if x is None else ops.concatenate([x] * number) for x in draws[0].conditions]
    rows = [
        None if parts[0] is None else ops.concatenate(parts)
        for parts in zip(*(draw[1:-1] for draw in draws), strict=True)
    ]
    return Draw(dataclasses.replace(logits, features=features), *rows, Conditions(*conditions))


def first_rows(draw, samples):
    """The `Draw` of the first of `samples` samples, of one that `together` made."""
    rows = ops.shape(draw.z_t)[0] // samples
    features = tuple(x[:rows] for x in draw.logits.features)
    conditions = [None if x is None else x[:rows] for x in draw.conditions]
    own = [None if x is None else x[:rows] for x in draw[1:-1]]
    return Draw(dataclasses.replace(draw.logits, features=features), *own, Conditions(*conditions))


class Proposals:
    """Mixin of a distiller with `steps`, `times` and `renoise`: one `Draw` of its student."""

    def draw(self, inputs, key, with_entropy=True, samples=1):
        """Corrupt data to `z_t`, let the student sample `x`, corrupt that to `z_s`: a `Draw`.

        Args:
            inputs: clean ids, or a dict with them.
            key: of all draws.
            with_entropy: whether to measure the entropy of the student's predictions.
            samples: of how many `x`, each with its own `z_s`, the prediction at one `z_t` is the law:
                a `Draw` of `samples · batch` rows, all first ones, then all second ones, and so on.
        """
        s_key, gap_key, corrupt_key, noise_key, x_key, renoise_key = random.split(key, 6)
        s, t, step_size = self.draw_times(batch_size_of(inputs), s_key, gap_key)
        _, z_t, _, conditions = corrupt_batch(self.teacher, inputs, t, corrupt_key)
        conditions = conditions._replace(step_size=step_size)
        shown, noise_key = self.student.self_condition(z_t, t, conditions, noise_key)
        logits = self.student.deferred_logits(z_t, t, shown, seed=noise_key)
        keys = [(x_key, renoise_key)]
        if samples > 1:
            keys = zip(random.split(x_key, samples), random.split(renoise_key, samples), strict=True)
        found = []
        for x_key, renoise_key in keys:
            x, entropy = drawn_tokens(self.process, logits, z_t, t, x_key, with_entropy)
            x = conditions.place(x)
            z_s = conditions.place(self.renoised(x, z_t, s, t, renoise_key))
            found.append(Draw(logits, x, entropy, z_t, z_s, t, s, conditions))
        return found[0] if samples == 1 else together(found)

    def draw_times(self, batch_size, s_key, gap_key):
        """`s` and `t`, and how far one of the student's steps goes, `(batch,)` each.

        Both ways `s` is uniform. On the grid `t` is the last of the k times `1, 1 - 1/k, …, 1/k` at
        which the student is called before it comes to `s`.
        """
        s = self.process.training_times(batch_size, s_key)
        calls, gap_key = self.draw_calls(batch_size, gap_key)
        if self.times == "grid":
            t = ops.maximum(1.0 - ops.floor((1.0 - s) * calls) / calls, s)
        else:
            t = ops.minimum(s + random.uniform((batch_size,), gap_key) / calls, 1.0)
        return s, t, 1.0 / calls

    def draw_calls(self, batch_size, key):
        """The number of calls of each example, float `(batch,)`, and a key to go on with."""
        return Calls.of(self.steps).draw(batch_size, key)

    def renoised(self, x, z_t, s, t, key):
        """`z_s` from the student's sample `x`, by posterior, by forward corruption, or by a coin."""
        if self.renoise == "posterior":
            return self.process.sample_posterior(x, z_t, s, t, key)
        if self.renoise == "forward":
            return self.process.corrupt(x, s, key)
        posterior_key, forward_key, coin_key = random.split(key, 3)
        return ops.where(
            random.uniform((ops.shape(x)[0], 1), coin_key) < 0.5,
            self.process.sample_posterior(x, z_t, s, t, posterior_key),
            self.process.corrupt(x, s, forward_key),
        )
