"""Prompts: strings, ids and gaps to given tokens."""

import dataclasses
import numbers

import numpy as np

from keras_dmmd import checks
from keras_dmmd.conditions import Conditions, after_given


@dataclasses.dataclass(frozen=True)
class Gap:
    """A place of `tokens` tokens between the parts of a prompt, for the model to fill.

    Example:

    ```python
    student = kd.from_preset("sotu_chars_student")
    student.generate(prompts=[["we must ", kd.Gap(40), " for the people"]], steps=8, seed=0)
    ```
    """

    tokens: int

    def __post_init__(self):
        checks.count("tokens", self.tokens)


def count(n, prompts):
    """How many samples are asked for."""
    is_list = isinstance(prompts, (list, tuple)) or len(getattr(prompts, "shape", ())) > 1
    if prompts is not None and not is_list:
        raise ValueError(
            f"`prompts` must be a list, one prompt per sample. Received: {checks.shown(prompts)}"
        )
    parts = prompts if isinstance(prompts, (list, tuple)) else ()
    alone = [part for part in parts if isinstance(part, (Gap, numbers.Number))]
    if alone:
        raise ValueError(
            "`prompts` must be a list of prompts: strings, ids, or lists of such parts and gaps. A "
            f"single one is [prompt]. Received: {alone[0]!r} in the list itself"
        )
    prompts_given = None if prompts is None else len(prompts)
    if prompts_given == 0:
        raise ValueError("`prompts` is empty: leave it out where nothing is given.")
    n = (prompts_given or 1) if n is None else checks.count("n", n)
    if prompts_given not in (None, 1, n):
        raise ValueError(f"`prompts` must be 1 or {n} of them, as `n={n}`. Received: {prompts_given}")
    return n


def read_labels(labels, n, num_classes):
    """Labels of `n` samples, int32 `(n,)`, or `None`."""
    if labels is None:
        return None
    if not num_classes:
        raise ValueError(
            "This model takes no `labels`: make its denoiser with `num_classes`. Received: "
            f"labels={checks.shown(labels)}"
        )
    labels = checks.array("labels", labels)
    if labels.ndim == 0:
        labels = np.full(n, labels)
    if labels.shape != (n,):
        raise ValueError(
            f"`labels` must be one integer or {n} of them, as `n={n}`. "
            f"Received: labels of shape {labels.shape}"
        )
    if not (0 <= labels.min() and labels.max() <= num_classes):
        raise ValueError(
            f"`labels` must lie in 0..{num_classes - 1}, or be {num_classes} for none. "
            f"Received: values from {labels.min()} to {labels.max()}"
        )
    return checks.whole("labels", labels).astype("int32")


def read_prompts(prompts, known, n, length, vocabulary_size, tokenizer):
    """Numpy `Conditions` of given tokens, and whether the prompts are text.

    Args:
        prompts: a list of prompts (see `DiffusionModel.generate`), or ids `(n, length)` with `known`.
        known: bool `(n, length)`, or `None`.
        tokenizer: of prompts that are text; may be `None`.
    """
    if prompts is None:
        if known is not None:
            raise ValueError("`known` says which tokens of `prompts` are given: pass both.")
        return Conditions(), False
    if known is not None:
        given, known = checks.array("prompts", prompts), checks.array("known", known)
        if given.shape not in ((n, length), (1, length)) or known.shape != given.shape:
            raise ValueError(
                f"With `known`, `prompts` must be ids and `known` booleans, both ({n}, {length}). "
                f"Received: shapes {given.shape} and {known.shape}"
            )
        known = checks.flags("known", known, given.shape).astype(bool)
        given = np.where(known, given, 0)
        texts = False
    else:
        rows = [_pieces(prompt, i, tokenizer) for i, prompt in enumerate(prompts)]
        sizes = [sum(_tokens_of(piece) for piece in row) for row in rows]
        over = [i for i, size in enumerate(sizes) if size > length]
        if over:
            raise ValueError(
                f"{len(over)} of {len(rows)} prompts have more tokens than a sample of {length}, the "
                f"first of them at index {over[0]}, with {sizes[over[0]]}."
            )
        given, known = np.zeros((len(rows), length), "int64"), np.zeros((len(rows), length), bool)
        for i, row in enumerate(rows):
            start = 0
            for piece in row:
                if not isinstance(piece, Gap):
                    given[i, start : start + len(piece)] = piece
                    known[i, start : start + len(piece)] = True
                start += _tokens_of(piece)
        texts = any(has_text(prompt) for prompt in prompts)
    given = checks.ids("prompts", given, vocabulary_size)  # before a cast makes ids of what is none
    given, known = (np.broadcast_to(a, (n, length)) for a in (given.astype("int32"), known))
    no_end = None
    if tokenizer is not None and tokenizer.end_id is not None:
        no_end = ~after_given(known) & ~known
        no_end = no_end if no_end.any() else None
    return Conditions(known=known, given=given, no_end=no_end), texts


def has_text(prompt):
    """Whether a prompt, or a piece of it, is a string."""
    parts = prompt if isinstance(prompt, (list, tuple)) else [prompt]
    return any(isinstance(part, str) for part in parts)


def _tokens_of(piece):
    return piece.tokens if isinstance(piece, Gap) else len(piece)


def _pieces(prompt, index, tokenizer):
    """A prompt as a list of ids `(m,)` and `Gap`s."""
    is_list = isinstance(prompt, (list, tuple))
    if not is_list or all(isinstance(part, numbers.Integral) for part in prompt):
        prompt = [prompt]
    pieces = []
    for piece in prompt:
        if isinstance(piece, str):
            if tokenizer is None:
                raise ValueError(
                    "Prompts that are text need a tokenizer: make the model with one, or give ids."
                )
            piece = tokenizer.encode(piece)
        if not isinstance(piece, Gap):
            piece = _ids(piece, index)
        pieces.append(piece)
    return pieces


def _ids(piece, index):
    """A part of a prompt as ids `(m,)`."""
    try:
        ids = checks.array("prompts", piece)
        kind = f"{ids.dtype}, shape {ids.shape}"
    except ValueError:
        ids, kind = np.array(0), checks.shown(piece)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(
            "`prompts` must each be a string, ids (m,), or a list of such parts and "
            f"`keras_dmmd.Gap`s. Received at index {index}: {kind}"
        )
    return ids
