"""Byte-pair encoding, by the `tokenizers` library."""

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

    Args:
        definition: what `tokenizers.Tokenizer.to_str()` returns, the content of a `tokenizer.json`.
        end: the end token, which the definition must have, or `None`.

    Example:

    ```python
    tokenizer = BytePairTokenizer.train(documents, vocabulary_size=4096)
    tokenizer = BytePairTokenizer.from_file("gpt2/tokenizer.json")
    ```

    Raises:
        ImportError: the package `tokenizers` is not installed.
        ValueError: the definition is none, or lacks the end token.
    """

    def __init__(self, definition, end=END):
        checks.text("definition", definition)
        if end is not None:
            checks.text("end", end)
        try:
            self._tokenizer = _library().Tokenizer.from_str(definition)
        except ImportError:
            raise
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(f"`definition` is not a tokenizer.json: {error}") from error
        self._tokenizer.encode_special_tokens = True  # a text that spells one out means its letters
        self.definition, self.end = definition, end
        self.vocabulary_size = self._tokenizer.get_vocab_size()
        self.end_id = None if end is None else self._tokenizer.token_to_id(end)
        if end is not None and self.end_id is None:
            raise ValueError(
                f"The vocabulary has no token {checks.shown(end)}: name its end token with `end=`."
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
        """From a `tokenizer.json`."""
        with open(checks.path("path", path), encoding="utf-8") as file:
            return cls(file.read(), end)

    def _encode(self, text):
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, "int32")

    def _decode(self, ids):
        return self._tokenizer.decode(list(map(int, ids)), skip_special_tokens=False)

    def get_config(self):
        return {"definition": self.definition, "end": self.end}
