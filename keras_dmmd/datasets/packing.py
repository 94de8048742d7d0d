"""Documents of any length into rows of one length."""

import numpy as np

from keras_dmmd import checks, tokenizers


def pack(documents, tokenizer, length, whole=False):
    """Tokens of an iterable of documents, int32 `(rows, length)`, ready for `fit`.

    Documents follow one another, an end token between them where the tokenizer has one, and the
    stream is cut into rows; what is left at its end, less than a row, is dropped.

    Args:
        documents: an iterable of strings, or of ids `(n,)`: a list, a file, a Grain or TFDS source.
        tokenizer: a `keras_dmmd.tokenizers.Tokenizer`.
        length: tokens per row.
        whole: whether no row may hold parts of two documents: each document then begins a row, and
            its last row is filled up with end tokens, of which one that fills its rows has none.
            Without an end token what is left is dropped.

    Raises:
        ValueError: there are fewer tokens than a row needs.

    Example:

    ```python
    tokenizer = kd.tokenizers.CharacterTokenizer(end=True)
    rows = kd.datasets.pack(["to be or not to be", "that is the question"], tokenizer, length=8)
    tokenizer.decode(rows[:2])  # ["to be or", " not to "]
    ```
    """
    checks.count("length", length)
    checks.iterable("documents", documents, "strings or ids")
    checks.flag("whole", whole)
    tokenizer = tokenizers.get(tokenizer)
    if tokenizer is None:
        raise ValueError("`tokenizer` must be a keras_dmmd.tokenizers.Tokenizer. Received: None")
    end = np.array([] if tokenizer.end_id is None else [tokenizer.end_id], "int32")
    parts, total = [], 0
    for document in documents:
        if isinstance(document, str):
            ids = tokenizer.encode(document)
        else:
            ids = checks.ids("documents", document, tokenizer.vocabulary_size, ndim=1).astype("int32")
        if whole and not len(end):
            ids = ids[: len(ids) - len(ids) % length]
        number = -len(ids) % length if whole else 1  # of end tokens, where there are such
        parts += [ids, np.repeat(end, number)]
        total += len(ids) + len(parts[-1])
    rows = total // length
    if rows == 0:
        raise ValueError(
            f"`documents` have {total} tokens, end tokens included, fewer than one row "
            f"of `length`={length}."
        )
    return np.concatenate(parts)[: rows * length].reshape(rows, length)
