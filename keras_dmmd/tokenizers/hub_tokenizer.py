"""Tokenizers of KerasHub."""

import base64
import pathlib
import tempfile

import keras
import numpy as np
from keras.src.saving.serialization_lib import SafeModeScope

from keras_dmmd import checks
from keras_dmmd.optional import package
from keras_dmmd.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable("keras_dmmd")
class HubTokenizer(Tokenizer):
    """A KerasHub tokenizer as one of this library's; needs tensorflow-text.

    Args:
        tokenizer: a `keras_hub.models.Tokenizer`.
        end_id: the id that ends a text; by default the tokenizer's own end or separator token.

    Example:

    ```python
    bert = keras_hub.models.Tokenizer.from_preset("bert_tiny_en_uncased")
    tokenizer = kd.tokenizers.HubTokenizer(bert)
    tokenizer.decode(tokenizer.encode("the people"))  # "the people"
    ```
    """

    def __init__(self, tokenizer, end_id=None):
        needed = ("vocabulary_size", "detokenize", "save_assets")
        if not all(callable(getattr(tokenizer, name, None)) for name in needed):
            raise ValueError(
                "`tokenizer` must be a keras_hub.models.Tokenizer. "
                f"Received: tokenizer={checks.shown(tokenizer)}"
            )
        self.tokenizer = tokenizer
        self.vocabulary_size = tokenizer.vocabulary_size()
        names = ("end_token_id", "sep_token_id")
        own = next((getattr(tokenizer, n) for n in names if hasattr(tokenizer, n)), None)
        self.end_id = own
        if end_id is not None:
            self.end_id = checks.count("end_id", end_id, least=0, most=self.vocabulary_size - 1)

    def _encode(self, text):
        return np.asarray(self.tokenizer(text), "int32")

    def _decode(self, ids):
        text = self.tokenizer.detokenize(np.asarray(ids, "int32"))
        return text if isinstance(text, str) else bytes(getattr(text, "numpy", lambda: text)()).decode()

    def get_config(self):
        # KerasHub keeps a vocabulary in files beside the config; here they travel inside it.
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_assets(folder)
            assets = {p.name: base64.b64encode(p.read_bytes()).decode() for p in _files(folder)}
        return {
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "assets": assets,
            "end_id": self.end_id,
        }

    @classmethod
    def from_config(cls, config):
        tokenizer = keras.saving.deserialize_keras_object(config["tokenizer"])
        hub = package("keras_hub", "HubTokenizer", "keras-hub")
        if not isinstance(tokenizer, hub.models.Tokenizer):
            raise ValueError(
                f"`tokenizer` must be a keras_hub Tokenizer. Received: {type(tokenizer).__name__}"
            )
        with tempfile.TemporaryDirectory() as folder:
            for name, content in config["assets"].items():
                if pathlib.PurePath(name).name != name:
                    raise ValueError(
                        f"An asset of a tokenizer must be a plain file. Received: {name!r}"
                    )
                pathlib.Path(folder, name).write_bytes(base64.b64decode(content))
            # Safe mode forbids files from elsewhere; these are words that came in the config.
            with SafeModeScope(False):
                tokenizer.load_assets(folder)
        return cls(tokenizer, config["end_id"])


def _files(folder):
    return sorted(pathlib.Path(folder).iterdir())
