"""Networks: the denoiser, its parts, and the random input of a student."""

from keras_dmmd.models.block_denoiser import BlockDenoiser as BlockDenoiser
from keras_dmmd.models.causal import CausalConvolution as CausalConvolution
from keras_dmmd.models.denoiser import Denoiser as Denoiser
from keras_dmmd.models.noise import GaussianNoise as GaussianNoise
from keras_dmmd.models.noise import NoiseConditioning as NoiseConditioning
from keras_dmmd.models.noise import PyramidNoise as PyramidNoise
from keras_dmmd.models.noise import ScalarNoise as ScalarNoise
from keras_dmmd.models.noise import TokenNoise as TokenNoise
