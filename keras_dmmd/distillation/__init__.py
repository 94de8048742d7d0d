"""Distillation of a diffusion model into a few-step student."""

from keras_dmmd.distillation.di4c import Di4CDistiller as Di4CDistiller
from keras_dmmd.distillation.dimo import DiMODistiller as DiMODistiller
from keras_dmmd.distillation.distiller import Distiller as Distiller
from keras_dmmd.distillation.dmmd import DMMDDistiller as DMMDDistiller
from keras_dmmd.distillation.idlm import IDLMDistiller as IDLMDistiller
from keras_dmmd.distillation.mpdc import MPDCDistiller as MPDCDistiller
from keras_dmmd.distillation.optimizer import annealed_optimizers as annealed_optimizers
from keras_dmmd.distillation.reinforce import ReinforceDistiller as ReinforceDistiller
from keras_dmmd.distillation.sdtt import SDTTDistiller as SDTTDistiller
