"""Byte-pair encoding, by the `tokenizers` library."""

import contextlib

import keras
import numpy as np

from keras_dmmd import checks
from keras_dmmd.optional import package
from keras_dmmd.tokenizers.tokenizer import Tokenizer

END = "<|endoftext|>"


def _library():
    return package("tokenizers", "BytePairTokenizer", "tokenizers")


@keras.saving.register_keras_serializable("keras_dmmd")
class BytePairTokenizer(Tokenizer):
    """Byte-pair encoding over bytes, so that any text has ids and comes back as it was.

    What a `tokenizer.json` may say of cutting, of padding and of merging at random is switched off. One
    whose normalizer changes texts, as by lower-casing, encodes only those that it leaves as they are.
    Nor does it encode a text that holds the end token itself, after which `decode` would end.

    Args:
        definition: what `tokenizers.Tokenizer.to_str()` returns, the content of a `tokenizer.json`.
        end: the end token, which the definition must have, or `None`.

    Example:

    ```python
    documents = ["the state of the union", "the people of the united states"] * 10
    tokenizer = kd.tokenizers.BytePairTokenizer.train(documents, vocabulary_size=300)
    tokenizer.decode(tokenizer.encode("the people"))  # "the people"
    ```

    Raises:
        ImportError: the package `tokenizers` is not installed.
        ValueError: the definition is none, lacks the end token, or leaves ids out.
    """

    def __init__(self, definition, end=END):
        library = _library()
        checks.text("definition", definition)
        if end is not None:
            checks.text("end", end)
        with _refusing("`definition` is not a tokenizer.json"):
            self._tokenizer = library.Tokenizer.from_str(definition)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._tokenizer.encode_special_tokens = True  # a text that spells one out means its letters
            if isinstance(self._tokenizer.model, library.models.BPE):
                self._tokenizer.model.dropout = None
            ids = sorted(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self.definition, self.end = definition, end
        self.vocabulary_size = len(ids)
        absent = next((i for i, known in enumerate(ids) if i != known), None)
        if not ids or absent is not None:
            raise ValueError(
                f"The ids of a vocabulary must be 0 to {len(ids) - 1}, one each for its {len(ids)} "
                f"tokens. Received: a definition without id {absent or 0}"
            )
        self.end_id = None if end is None else self._tokenizer.token_to_id(end)
        if end is not None and self.end_id is None:
            added = self._tokenizer.get_added_tokens_decoder().values()
            raise ValueError(
                f"The vocabulary has no token {checks.shown(end)}: name its end token with `end=`. "
                f"Its special tokens: {[token.content for token in added][:10]}"
            )

    @classmethod
    def train(cls, documents, vocabulary_size, end=END):
        """Learn merges from an iterable of texts, as GPT-2's were learned.

        Args:
            documents: strings.
            vocabulary_size: ids in all, at least 257: the bytes and the end token.
            end: the end token.
        """
        # The library sets room aside for all merges; of a million no text needs more.
        vocabulary_size = checks.count("vocabulary_size", vocabulary_size, least=257, most=2**24)
        checks.text("end", end)
        documents = checks.iterable("documents", documents, "strings")
        library = _library()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=[end],
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator((checks.text("documents", d) for d in documents), trainer)
        return cls(tokenizer.to_str(), end)

    @classmethod
    def from_file(cls, path, end=END):
        """From a `tokenizer.json`.

        Raises:
            ValueError: it is none; see `BytePairTokenizer`.
        """
        path = checks.path("path", path)
        try:
            with open(path, encoding="utf-8-sig") as file:
                return cls(file.read(), end)
        except ValueError as error:  # of what is no UTF-8 too
            raise ValueError(f"The file {path!r} makes no tokenizer: {error}") from error

    def _encode(self, text):
        with _refusing(f"This tokenizer cannot encode {text[:60]!r}"):
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self.end_id in ids:
            raise ValueError(
                f"The end token {self.end!r} stands within a text, where it would end it: divide texts "
                f"there, or take another `end`. Received: {checks.shown(text)}"
            )
        back = self._decode(ids)
        if back != text:
            at = next(
                (i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), len(back)
            )
            raise ValueError(
                f"This tokenizer does not give texts back as they were. From character {at} on, "
                f"{text[at : at + 30]!r} comes back as {back[at : at + 30]!r}: its normalizer or its "
                "vocabulary leaves out or changes what stands there."
            )
        return np.array(ids, "int32")

    def _decode(self, ids):
        with _refusing("This tokenizer cannot decode its ids"):
            return self._tokenizer.decode(list(map(int, ids)), skip_special_tokens=False)

    def get_config(self):
        return {"definition": self.definition, "end": self.end}


@contextlib.contextmanager
def _refusing(what):
    """A context in which errors of the library are `ValueError`s, its panics too.

    Its code is in Rust, and what it does not expect, as of an odd regular expression, ends a program: a
    panic is no `Exception`, and its class cannot be imported.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"{what}: {str(error)[:300]}") from error
        raise
