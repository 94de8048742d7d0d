"""The contract of a tokenizer, and what every tokenizer shares."""

import collections

import numpy as np

from keras_dmmd import checks


class Tokenizer:
    """Text to ids `0 .. vocabulary_size - 1` and back.

    A subclass writes `_encode`, `_decode` and `get_config`, and sets the attributes.

    Attributes:
        vocabulary_size: K, the end token included.
        end_id: the id that ends a text and fills the rest of its row, or `None` where there is none.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class WordTokenizer(kd.tokenizers.Tokenizer):
        '''One token per word of a list.'''

        def __init__(self, words):
            self.words, self.vocabulary_size = list(words), len(words)

        def _encode(self, text):
            return np.array([self.words.index(word) for word in text.split()], "int32")

        def _decode(self, ids):
            return " ".join(self.words[i] for i in ids)

        def get_config(self):
            return {"words": self.words}

    WordTokenizer(["the", "union", "is", "strong"]).encode("the union is strong")  # [0, 1, 2, 3]
    ```
    """

    vocabulary_size = None
    end_id = None

    def encode(self, text):
        """The ids of one text, int32 `(n,)`, without an end token.

        Raises:
            ValueError: the text is no string, or has symbols that the vocabulary lacks.
        """
        return self._encode(checks.text("text", text))

    def _encode(self, text):
        raise NotImplementedError

    def _decode(self, ids):
        raise NotImplementedError

    def decode(self, ids):
        """The text of ids `(n,)` up to the first end token; for `(batch, n)` a list of texts."""
        ids = checks.whole("ids", checks.array("ids", ids))
        if ids.ndim == 2:
            return [self.decode(row) for row in ids]
        if ids.ndim != 1:
            raise ValueError(f"`ids` must have shape (n,) or (batch, n). Received: shape {ids.shape}")
        ids = checks.ids("ids", ids, self.vocabulary_size).astype("int64")
        if self.end_id is not None:
            ends = np.flatnonzero(ids == self.end_id)
            ids = ids[: ends[0]] if len(ends) else ids
        return self._decode(ids)

    def encode_batch(self, texts, length):
        """Texts as rows of one length, int32 `(len(texts), length)`, filled up with the end token.

        Raises:
            ValueError: a text is longer than `length`, or shorter where there is no end token.
        """
        length = checks.count("length", length)
        rows = [self._encode(text) for text in checks.texts("texts", texts)]
        checks.fits(f"{len(rows)} texts of length={length}", 4 * len(rows) * length)
        over = [i for i, row in enumerate(rows) if len(row) > length]
        if over:
            longest = max(over, key=lambda i: len(rows[i]))
            raise ValueError(
                f"{len(over)} of {len(rows)} texts have more than length={length} tokens, the first of "
                f"them at index {over[0]}; the longest, at index {longest}, has {len(rows[longest])}."
            )
        short = [i for i, row in enumerate(rows) if len(row) < length]
        if short and self.end_id is None:
            raise ValueError(
                f"{len(short)} of {len(rows)} texts have fewer than length={length} tokens, the first "
                f"of them at index {short[0]}, and this {type(self).__name__} has no end token to fill "
                "them up."
            )
        batch = np.full((len(rows), length), self.end_id or 0, "int32")
        for i, row in enumerate(rows):
            batch[i, : len(row)] = row
        return batch

    def get_config(self):
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        return f"{type(self).__name__}(vocabulary_size={self.vocabulary_size}, end_id={self.end_id})"


class SymbolTokenizer(Tokenizer):
    """A tokenizer over a list of symbols, with the end token, if any, after them.

    Args:
        symbols: the vocabulary, in the order of its ids: distinct strings.
        end: whether there is an end token.
        name: of the argument in errors.
    """

    def __init__(self, symbols, end, name="symbols"):
        if not isinstance(symbols, str):  # which is its characters
            checks.iterable(name, symbols, "strings")
        symbols = [checks.text(name, symbol) for symbol in symbols]
        repeated = sorted(s for s, number in collections.Counter(symbols).items() if number > 1)
        if not all(symbols) or not symbols or repeated:
            raise ValueError(
                f"`{name}` must be distinct, non-empty strings. "
                f"Received: {len(symbols)} of them, repeated: {checks.shown(repeated)}"
            )
        self.symbols, self.end = symbols, checks.flag("end", end)
        self.vocabulary_size = len(symbols) + self.end
        self.end_id = len(symbols) if end else None
        self._ids = {symbol: i for i, symbol in enumerate(symbols)}

    def split(self, text):
        """The symbols of a text, in order: strings whose concatenation is the text."""
        raise NotImplementedError

    def _encode(self, text):
        symbols = self.split(text)
        try:
            return np.array([self._ids[symbol] for symbol in symbols], "int32")
        except KeyError:
            unknown = sorted({symbol for symbol in symbols if symbol not in self._ids})
            first = next(i for i, symbol in enumerate(symbols) if symbol in unknown)
            raise ValueError(
                f"`text` has {len(unknown)} symbol(s) that this vocabulary of {len(self.symbols)} "
                f"lacks: {unknown[:20]}; the first is token {first} of {text[:60]!r}."
            ) from None

    def _decode(self, ids):
        return "".join(self.symbols[i] for i in ids)


def get(tokenizer):
    """A tokenizer from itself, its serialised form, or `None`.

    Example:

    ```python
    tokenizer = kd.tokenizers.ByteTokenizer()
    config = keras.saving.serialize_keras_object(tokenizer)
    kd.tokenizers.get(config).vocabulary_size  # 257
    ```
    """
    if isinstance(tokenizer, dict) and "class_name" in tokenizer:
        tokenizer = checks.deserialized("tokenizer", tokenizer)
    if tokenizer is not None and not all(
        hasattr(tokenizer, name) for name in ("encode", "decode", "vocabulary_size", "end_id")
    ):
        raise ValueError(
            "`tokenizer` needs `encode`, `decode`, `vocabulary_size` and `end_id`, as a "
            f"keras_dmmd.tokenizers.Tokenizer has them. Received: {checks.shown(tokenizer)}"
        )
    return tokenizer
