"""Samplers as files that run where Keras is not installed."""

from keras_dmmd.exporting.export import export as export
