"""Where a sample ends: how many tokens it has, and the tokens after which there are none of its own."""

import dataclasses
from typing import Any

import numpy as np

from keras_dmmd import checks
from keras_dmmd.conditions import after_given


def lengths(length, max_length, default, block_size):
    """Tokens to draw, and how many of these to keep.

    Args:
        length: tokens of a sample, whole blocks, or `None`.
        max_length: the most tokens of a sample, of any number, or `None`.
        default: tokens where nobody says, or `None`.
        block_size: of a model of blocks; else `None`.

    Raises:
        ValueError: both are given, or nothing is known.
    """
    for name, value in (("length", length), ("max_length", max_length)):
        if value is not None:
            checks.count(name, value)
    if length is not None and max_length is not None:
        raise ValueError(
            "`length` and `max_length` both say how many tokens a sample has: pass one of them. "
            f"Received: length={length}, max_length={max_length}"
        )
    if max_length is not None:
        size = block_size or 1
        return -(-max_length // size) * size, max_length
    length = default if length is None else length
    if length is None:
        raise ValueError("This model has seen no data yet: pass `length` to `generate`.")
    return length, length


@dataclasses.dataclass(frozen=True)
class Ending:
    """The tokens that end a sample.

    Attributes:
        ids: of these tokens, a tuple.
        fill: the id of all that follows one of them.
        where: which tokens may end a sample, bool numpy `(n, length)`, or `None` for all of them.
        closes: whether what follows is filled within a canvas, too: the network that has learned an end
            token fills that by itself.
    """

    ids: tuple = ()
    fill: int = 0
    where: Any = None
    closes: bool = False

    @classmethod
    def of(cls, stop_token_ids, tokenizer, vocabulary_size, conditions):
        """What `DiffusionModel.generate` is told, for its numpy `Conditions`.

        Raises:
            ValueError: they are no ids.
        """
        end = None if tokenizer is None else tokenizer.end_id
        known = conditions.known
        # No text ends before a given part, nor in it.
        where = None if known is None else after_given(known)
        if isinstance(stop_token_ids, str) and stop_token_ids == "auto":
            return cls() if end is None else cls((end,), end, where)
        if stop_token_ids is None:
            return cls()
        ids = checks.ids("stop_token_ids", stop_token_ids, vocabulary_size, ndim=1)
        if not len(ids):
            return cls()
        ids = tuple(int(i) for i in ids)
        return cls(ids, ids[0] if end is None else end, where, closes=True)

    def found(self, tokens, rows, start=0):
        """Which tokens `(batch, some)` from position `start` end a sample; `rows` are their numbers."""
        ends = np.isin(tokens, self.ids)
        return ends if self.where is None else ends & self.where[rows, start : start + tokens.shape[1]]

    def after(self, tokens):
        """Which of the tokens `(n, length)` of all samples follow an end."""
        ends = self.found(tokens, slice(None))
        return np.cumsum(ends, axis=1) - ends > 0
