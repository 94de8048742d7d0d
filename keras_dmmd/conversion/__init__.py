"""Models that others trained, from their weight files."""

from keras_dmmd.conversion.dit import load_dit as load_dit
