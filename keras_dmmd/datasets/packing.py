"""Documents of any length into rows of one length."""

import numpy as np

from keras_dmmd import checks


def pack(documents, tokenizer, length, whole=False):
    """Tokens of an iterable of documents, int32 `(rows, length)`, ready for `fit`.

    Documents follow one another, an end token between them where the tokenizer has one, and the
    stream is cut into rows; what is left at its end, less than a row, is dropped.

    Args:
        documents: an iterable of strings, or of ids `(n,)`: a list, a file, a Grain or TFDS source.
        tokenizer: a `keras_dmmd.tokenizers.Tokenizer`.
        length: tokens per row.
        whole: whether no row may hold parts of two documents: each document then begins a row, and
            its last row is filled up with end tokens. Without an end token what is left is dropped.

    Raises:
        ValueError: there are fewer tokens than a row needs.
    """
    checks.count("length", length)
    if isinstance(documents, str):
        raise ValueError("`documents` must be an iterable of strings. Received: one string")
    end = np.array([] if tokenizer.end_id is None else [tokenizer.end_id], "int32")
    parts, total = [], 0
    for document in documents:
        ids = tokenizer.encode(document) if isinstance(document, str) else np.asarray(document, "int32")
        parts += [ids, end]
        total += len(ids) + len(end)
        if whole and total % length:
            spare = total % length
            if len(end):
                parts.append(np.repeat(end, length - spare))
                total += length - spare
            else:
                parts[-2] = ids[: len(ids) - spare]
                total -= spare
    rows = total // length
    if rows == 0:
        raise ValueError(
            f"The documents have {total} tokens, end tokens included, fewer than one row of {length}."
        )
    return np.concatenate(parts)[: rows * length].reshape(rows, length)
