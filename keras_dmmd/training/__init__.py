"""Training a teacher, and checkpoints that resume exactly."""

from keras_dmmd.training.diffusion_model import DiffusionModel as DiffusionModel
