"""The commands of `keras-dmmd`; what is typed is read in `keras_dmmd_command`, which needs no Keras."""

from keras_dmmd_command import main as main
