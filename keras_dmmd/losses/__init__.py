"""Pure loss functions, one result per example."""

from keras_dmmd.losses.divergences import divergence_loss as divergence_loss
from keras_dmmd.losses.jeffreys import jeffreys_loss as jeffreys_loss
from keras_dmmd.losses.mixtures import mixture_loss as mixture_loss
from keras_dmmd.losses.moment_matching import critic_loss as critic_loss
from keras_dmmd.losses.moment_matching import student_loss as student_loss
from keras_dmmd.losses.policy_gradient import policy_gradient_loss as policy_gradient_loss
