"""What a network is told beside corrupted tokens and a time: one type for training and sampling."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dmmd.checks import shown

# What a batch of training data may hold beside its tokens.
INPUTS = ("labels", "known")


class Conditions(NamedTuple):
    """What is known of a batch of sequences; `None` where there is nothing.

    A tuple, so that compiled functions of every backend take it as it is. `_replace` makes another one.

    Attributes:
        labels: classes `(batch,)`.
        known: which tokens are given, bool `(batch, length)`.
        given: ids `(batch, length)`; they count where `known`.
        no_end: which tokens must not end the text, since given ones follow, bool `(batch, length)`.
        valid: which positions are of the sequence, and not padding, bool `(batch, length)`.
        context: clean ids `(batch, length)`, of which a network of blocks is shown those before each
            block.
        prediction: the network's last prediction, probabilities `(batch, length, K)`, for
            self-conditioning.
        step_size: how far the step goes that is to be made, `t - s`, `(batch,)`; for a student of
            several numbers of calls.
        cache: what a network of blocks keeps of finished ones.
        start: the position of the block that is written, an integer tensor.
    """

    labels: Any = None
    known: Any = None
    given: Any = None
    no_end: Any = None
    valid: Any = None
    context: Any = None
    prediction: Any = None
    step_size: Any = None
    cache: Any = None
    start: Any = None

    @classmethod
    def from_inputs(cls, inputs):
        """Clean tokens, int32 `(batch, length)`, and the conditions of a batch of training data.

        Args:
            inputs: ids `(batch, length)`, or a dict with them as `"tokens"` and, as far as there are
                such, `"labels"`, `(batch,)`, and `"known"`, bool `(batch, length)`.

        Raises:
            ValueError: an entry or a shape is another one.
        """
        tokens, told = tokens_of(inputs), entries(inputs)
        del told["tokens"]
        if len(tokens.shape) != 2:
            raise ValueError(
                "Tokens must have shape (batch, length): flatten images to one row each. "
                f"Received: shape {tuple(tokens.shape)}"
            )
        if tokens.shape[1] is None:
            raise ValueError(
                "The length of token sequences must be known before they are read: pad them to one "
                f"length. Received: shape {tuple(tokens.shape)}"
            )
        tokens = ops.cast(tokens, "int32")
        if "known" in told:
            if tuple(told["known"].shape[1:]) != tuple(tokens.shape[1:]):
                raise ValueError(
                    "'known' says of every token whether it is given. Received: shape "
                    f"{tuple(told['known'].shape)} for tokens {tuple(tokens.shape)}"
                )
            told["known"], told["given"] = ops.cast(told["known"], "bool"), tokens
        return tokens, cls(**told)

    @property
    def unknown(self):
        """Which tokens are not given, bool `(batch, length)`, or `None`, which is all of them."""
        return None if self.known is None else ops.logical_not(self.known)

    def place(self, tokens):
        """`tokens` with the given ones in their places."""
        return tokens if self.known is None else ops.where(self.known, self.given, tokens)

    # Of numpy conditions, before sampling ---------------------------------------------------------

    def complete(self, n, length, has_end):
        """The same, with what is said of positions even where it says nothing.

        A step that is compiled for these takes every request. `no_end` is among them if `has_end`.
        """
        names = ("known", "no_end") if has_end else ("known",)
        empty = dict.fromkeys(names, np.zeros((n, length), bool))
        empty["given"] = np.zeros((n, length), "int32")
        return self._replace(**{k: v for k, v in empty.items() if getattr(self, k) is None})

    def padded(self, n, length, size):
        """The same of `n` sequences that are filled up from `length` to `size` tokens.

        Padding is given, so that nothing is drawn there, and no token attends to it.
        """
        full = self.complete(n, length, has_end=self.no_end is not None)
        room = ((0, 0), (0, size - length))
        no_end = None if full.no_end is None else np.pad(full.no_end, room)
        return full._replace(
            known=np.pad(full.known, room, constant_values=True),
            given=np.pad(full.given, room),
            no_end=no_end,
            valid=np.broadcast_to(np.arange(size) < length, (n, size)),
        )

    def longer(self, length):
        """The same with room after it, up to `length` tokens, of which nothing is known."""
        if self.known is None or self.known.shape[1] == length:
            return self
        room = ((0, 0), (0, length - self.known.shape[1]))
        parts = {name: getattr(self, name) for name in ("known", "given", "no_end")}
        return self._replace(**{k: np.pad(v, room) for k, v in parts.items() if v is not None})

    def columns(self, start, size):
        """Positions from `start`, of what is said of positions."""
        names = ("known", "given", "no_end", "valid")
        parts = {name: getattr(self, name) for name in names}
        return self._replace(
            **{k: None if v is None else v[:, start : start + size] for k, v in parts.items()}
        )

    def are_all_known(self, start, size):
        """Whether the positions from `start` are given in every row."""
        return self.known is not None and bool(self.known[:, start : start + size].all())

    def check_order(self, size):
        """Refuse what a model of blocks cannot heed: given tokens after a block that has a gap.

        Raises:
            ValueError: there are such.
        """
        if self.known is None:
            return
        blocks = self.known.reshape(len(self.known), -1, size)
        gap_before = np.cumsum(~blocks.all(axis=2), axis=1) - ~blocks.all(axis=2) > 0
        wrong = (gap_before & blocks.any(axis=2)).any(axis=1)
        if wrong.any():
            raise ValueError(
                f"This model writes blocks of {size} tokens one after the other: what is given in a "
                "later one would have no part in an earlier block with a gap. Received: such a prompt "
                f"at index {int(np.argmax(wrong))}"
            )


def entries(inputs):
    """A new dict of what a batch of training data holds, `"tokens"` and those of `INPUTS` that it has.

    Raises:
        ValueError: a dict lacks the tokens, or has another entry.
    """
    if not isinstance(inputs, dict):
        return {"tokens": inputs}
    if inputs.get("tokens") is None or not set(inputs) <= {"tokens", *INPUTS}:
        raise ValueError(
            "Inputs given as a dict need the entry 'tokens', and may have 'labels' and 'known'. "
            f"Received: {sorted(map(str, inputs))}"
        )
    return {name: value for name, value in inputs.items() if value is not None}


def tokens_of(inputs):
    """The clean tokens of a batch, a tensor.

    Raises:
        ValueError: they are none.
    """
    tokens = entries(inputs)["tokens"]
    if getattr(tokens, "shape", None) is None:
        raise ValueError(
            f"`inputs` must be ids (batch, length), or a dict of them. Received: {shown(inputs)}"
        )
    return tokens


# Nothing is known.
NOTHING = Conditions()


def open_tokens(inputs):
    """Tokens of an example that are not given: an integer, or float32 `(batch,)`."""
    tokens, conditions = Conditions.from_inputs(inputs)
    if conditions.known is None:
        return tokens.shape[1]
    return ops.sum(ops.cast(conditions.unknown, "float32"), axis=-1)


def after_given(known):
    """Which places come after all that is given, of bool numpy `(batch, length)`."""
    return ~np.flip(np.maximum.accumulate(np.flip(known, 1), axis=1), 1)
