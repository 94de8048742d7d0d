"""Text to ids and back; each tokenizer is serialisable and travels with its model."""

from keras_dmmd.tokenizers.byte import ByteTokenizer as ByteTokenizer
from keras_dmmd.tokenizers.byte_pair import BytePairTokenizer as BytePairTokenizer
from keras_dmmd.tokenizers.character import CharacterTokenizer as CharacterTokenizer
from keras_dmmd.tokenizers.hub_tokenizer import HubTokenizer as HubTokenizer
from keras_dmmd.tokenizers.smiles import SmilesTokenizer as SmilesTokenizer
from keras_dmmd.tokenizers.tokenizer import Tokenizer as Tokenizer
from keras_dmmd.tokenizers.tokenizer import get as get
