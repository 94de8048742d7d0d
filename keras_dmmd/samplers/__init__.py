"""Samplers: how a canvas of noise becomes a sample, call by call.

Each is a `Stepper`, given to `generate(sampler=…)`, `DiffusionModel(sampler=…)` or `compile(sampler=…)`
as an object or by its name in snake case.
"""

from keras_dmmd.samplers.ancestral import Ancestral as Ancestral
from keras_dmmd.samplers.confidence import Confidence as Confidence
from keras_dmmd.samplers.entropy_bound import EntropyBound as EntropyBound
from keras_dmmd.samplers.first_hitting import FirstHitting as FirstHitting
from keras_dmmd.samplers.psi import Psi as Psi
from keras_dmmd.samplers.registry import get as get
from keras_dmmd.samplers.registry import names as names
from keras_dmmd.samplers.remasking import Remasking as Remasking
from keras_dmmd.samplers.stepper import Step as Step
from keras_dmmd.samplers.stepper import Stepper as Stepper
from keras_dmmd.samplers.threshold import Threshold as Threshold
from keras_dmmd.sampling.prediction import Prediction as Prediction
