"""Distillation of a diffusion model into a few-step student."""

from keras_dmmd.distillation.dmmd import DMMDDistiller as DMMDDistiller
