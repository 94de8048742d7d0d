"""Bytes of UTF-8: any text, no vocabulary to learn."""

import keras
import numpy as np

from keras_dmmd import checks
from keras_dmmd.tokenizers.tokenizer import Tokenizer


@keras.saving.register_keras_serializable("keras_dmmd")
class ByteTokenizer(Tokenizer):
    """One token a byte of UTF-8, and an end token: 257 ids.

    Bytes that are no UTF-8, which a model may well write, decode to U+FFFD.

    Args:
        end: whether there is an end token, id 256.

    Example:

    ```python
    tokenizer = kd.tokenizers.ByteTokenizer()
    tokenizer.encode("naïve")  # 6 ids: ï takes two bytes
    ```
    """

    def __init__(self, end=True):
        self.end = checks.flag("end", end)
        self.vocabulary_size = 256 + self.end
        self.end_id = 256 if end else None

    def _encode(self, text):
        return np.frombuffer(text.encode("utf-8"), "uint8").astype("int32")

    def _decode(self, ids):
        return np.asarray(ids).astype("uint8").tobytes().decode("utf-8", errors="replace")

    def get_config(self):
        return {"end": self.end}
