"""Sampling: prompts, times, truncation of a prediction, and the loop that calls network and sampler."""

from keras_dmmd.random import categorical as categorical
from keras_dmmd.sampling.prompts import Gap as Gap
from keras_dmmd.sampling.truncation import nucleus as nucleus
from keras_dmmd.sampling.truncation import sharpen as sharpen
