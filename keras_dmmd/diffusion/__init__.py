"""Forward processes: how tokens are corrupted, and what follows from it by Bayes' rule."""

from keras_dmmd.diffusion.hybrid import HybridDiffusion as HybridDiffusion
from keras_dmmd.diffusion.masked import MaskedDiffusion as MaskedDiffusion
from keras_dmmd.diffusion.probing import check_process as check_process
from keras_dmmd.diffusion.process import DiffusionProcess as DiffusionProcess
from keras_dmmd.diffusion.uniform import UniformDiffusion as UniformDiffusion
