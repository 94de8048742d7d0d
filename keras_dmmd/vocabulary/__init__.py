"""Large vocabularies: a table of logits is made a tile of positions at a time, where it is needed."""

from keras_dmmd.vocabulary.logits import Logits as Logits
from keras_dmmd.vocabulary.tiles import Tiles as Tiles
