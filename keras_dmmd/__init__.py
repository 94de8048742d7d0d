"""Discrete diffusion models and their distillation into few-step samplers, on Keras 3."""

from keras_dmmd import callbacks as callbacks
from keras_dmmd import conversion as conversion
from keras_dmmd import datasets as datasets
from keras_dmmd import distribution as distribution
from keras_dmmd import metrics as metrics
from keras_dmmd import presets as presets
from keras_dmmd import random as random
from keras_dmmd import samplers as samplers
from keras_dmmd import schedules as schedules
from keras_dmmd import tokenizers as tokenizers
from keras_dmmd.diffusion import DiffusionProcess as DiffusionProcess
from keras_dmmd.diffusion import HybridDiffusion as HybridDiffusion
from keras_dmmd.diffusion import MaskedDiffusion as MaskedDiffusion
from keras_dmmd.diffusion import UniformDiffusion as UniformDiffusion
from keras_dmmd.distillation import Distiller as Distiller
from keras_dmmd.distillation import DMMDDistiller as DMMDDistiller
from keras_dmmd.distillation import annealed_optimizers as annealed_optimizers
from keras_dmmd.evaluation import evaluate as evaluate
from keras_dmmd.metrics import ImageFeatures as ImageFeatures
from keras_dmmd.models import BlockDenoiser as BlockDenoiser
from keras_dmmd.models import Denoiser as Denoiser
from keras_dmmd.presets import from_preset as from_preset
from keras_dmmd.sampling import Gap as Gap
from keras_dmmd.training import DiffusionModel as DiffusionModel
from keras_dmmd.training.export import export as export
from keras_dmmd.version import __version__ as __version__
