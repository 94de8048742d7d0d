"""Characters, by default the 27 of text8."""

import keras

from keras_dmmd.tokenizers.tokenizer import SymbolTokenizer

TEXT8 = " abcdefghijklmnopqrstuvwxyz"


@keras.saving.register_keras_serializable("keras_dmmd")
class CharacterTokenizer(SymbolTokenizer):
    """One token per character.

    Args:
        characters: the alphabet, in the order of its ids; by default those of
            `keras_dmmd.datasets.text8`, a space and a to z.
        end: whether the vocabulary has an end token, for texts that do not fill their row.

    Example:

    ```python
    tokenizer = kd.tokenizers.CharacterTokenizer()
    tokenizer.decode(tokenizer.encode("fellow citizens"))  # "fellow citizens"
    own = kd.tokenizers.CharacterTokenizer(sorted(set("We, the People")), end=True)
    ```
    """

    def __init__(self, characters=TEXT8, end=False):
        super().__init__(characters, end, name="characters")
        long = [c for c in self.symbols if len(c) > 1]
        if long:
            raise ValueError(f"`characters` must be single characters. Received: {long[:20]}")

    def split(self, text):
        return text

    def get_config(self):
        return {"characters": "".join(self.symbols), "end": self.end}
