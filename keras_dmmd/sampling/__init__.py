"""Sampling: truncation of a prediction, and the one compiled sampler of teachers and students."""

from keras_dmmd.random import categorical as categorical
from keras_dmmd.sampling.conditions import Conditions as Conditions
from keras_dmmd.sampling.conditions import Gap as Gap
from keras_dmmd.sampling.sampler import Sampler as Sampler
from keras_dmmd.sampling.truncation import nucleus as nucleus
from keras_dmmd.sampling.truncation import sharpen as sharpen
