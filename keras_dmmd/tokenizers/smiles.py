"""Molecules: one token an atom, a bond, a ring digit or a bracket."""

import re

import keras

from keras_dmmd import checks
from keras_dmmd.tokenizers.tokenizer import SymbolTokenizer

# The lexical tokens of SMILES: a bracketed atom, a two-letter organic atom, a two-digit ring bond, or
# a single character. The `.` in the last place matches everything else, so nothing is dropped.
TOKEN = re.compile(r"\[[^\[\]]*\]|Br|Cl|%\d\d|.", re.DOTALL)

# Those of the 1.9 million molecules of MOSES.
MOSES = "# ( ) - 1 2 3 4 5 6 = Br C Cl F N O S [H] [nH] c n o s".split()


@keras.saving.register_keras_serializable("keras_dmmd")
class SmilesTokenizer(SymbolTokenizer):
    """SMILES strings as atoms, bonds, branches and ring closures, and an end token.

    Args:
        symbols: the vocabulary, in the order of its ids; by default the 24 of MOSES.
        end: whether there is an end token, for molecules that do not fill their row.

    Example:

    ```python
    tokenizer = kd.tokenizers.SmilesTokenizer()
    tokens = tokenizer.encode_batch(["CCO", "c1ccccc1"], length=56)  # (2, 56)
    own = kd.tokenizers.SmilesTokenizer.learn(["C[Si](C)C"])  # other molecules, other atoms
    ```
    """

    def __init__(self, symbols=tuple(MOSES), end=True):
        super().__init__(symbols, end)

    @classmethod
    def learn(cls, molecules, end=True):
        """The vocabulary of an iterable of SMILES strings."""
        texts = checks.iterable("molecules", molecules, "strings")
        found = {s for text in texts for s in TOKEN.findall(checks.text("molecules", text))}
        return cls(sorted(found), end)

    def split(self, text):
        return TOKEN.findall(text)

    def get_config(self):
        return {"symbols": self.symbols, "end": self.end}
