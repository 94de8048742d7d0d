"""One batch of data, corrupted: where a teacher's loss and a distiller's draw begin."""

from typing import Any, NamedTuple

from keras import ops

from keras_dmmd import random
from keras_dmmd.conditions import Conditions, tokens_of


class Corrupted(NamedTuple):
    """A batch at times `t`.

    Attributes:
        tokens: clean ids `(batch, length)`.
        z_t: corrupted ids `(batch, length)`; given tokens are clean.
        t: `(batch,)`.
        conditions: the `Conditions` that a network is told.
    """

    tokens: Any
    z_t: Any
    t: Any
    conditions: Conditions


def batch_size_of(inputs):
    """The number of examples of a batch: of ids, or of a dict with them as "tokens"."""
    return ops.shape(tokens_of(inputs))[0]


def corrupt_batch(model, inputs, t, key, training=True):
    """Corrupt clean tokens, `z_t ~ q(z_t | x)`, but for those that are given.

    In training labels are hidden and beginnings are given at random, at the model's own rates.

    Args:
        model: the `DiffusionModel` whose process and rates these are.
        inputs: ids `(batch, length)`, or a dict with them, see `keras_dmmd.conditions.Conditions`.
        t: times `(batch,)`.
        key: for the draws.
        training: whether labels are hidden and beginnings given.

    Returns:
        A `Corrupted`.
    """
    tokens, conditions = Conditions.from_inputs(inputs)
    if model.capabilities.block_size:
        conditions = conditions._replace(context=tokens)
    if training and (model.label_dropout or model.prompt_rate):
        label_key, prompt_key, key = random.split(key, 3)
        conditions = _hide_labels(conditions, model, label_key)
        conditions = _give_beginnings(conditions, tokens, model.prompt_rate, prompt_key)
    z_t = conditions.place(model.process.corrupt(tokens, t, key))
    return Corrupted(tokens, z_t, t, conditions)


def _hide_labels(conditions, model, key):
    """Labels of which a share is "none": what classifier-free guidance learns from."""
    if not model.label_dropout or conditions.labels is None:
        return conditions
    labels = ops.cast(conditions.labels, "int32")
    hidden = random.uniform(ops.shape(labels), key) < model.label_dropout
    return conditions._replace(labels=ops.where(hidden, model.capabilities.num_classes, labels))


def _give_beginnings(conditions, tokens, rate, key):
    """Conditions under which a share of the rows has a beginning of random length given."""
    if not rate:
        return conditions
    known = given_prefixes(*ops.shape(tokens), rate, key)
    if conditions.known is not None:
        known = ops.logical_or(known, conditions.known)
    return conditions._replace(known=known, given=tokens)


def given_prefixes(batch_size, length, rate, seed):
    """Beginnings of random length, of none to all but one token, for a share of the rows.

    Returns:
        bool `(batch_size, length)`.
    """
    rate_key, size_key = random.split(seed, 2)
    sizes = random.randint((batch_size,), length, size_key)
    chosen = random.uniform((batch_size,), rate_key) < rate
    sizes = ops.where(chosen, sizes, 0)
    return ops.expand_dims(ops.arange(length), 0) < ops.expand_dims(sizes, 1)
