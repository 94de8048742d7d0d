"""How good samples are."""

from keras_dmmd.metrics.distances import FrechetDistance as FrechetDistance
from keras_dmmd.metrics.distances import KernelDistance as KernelDistance
from keras_dmmd.metrics.distances import Mauve as Mauve
from keras_dmmd.metrics.diversity import Diversity as Diversity
from keras_dmmd.metrics.diversity import Repetition as Repetition
from keras_dmmd.metrics.diversity import UnigramEntropy as UnigramEntropy
from keras_dmmd.metrics.features import ImageFeatures as ImageFeatures
from keras_dmmd.metrics.frechet import FeatureStatistics as FeatureStatistics
from keras_dmmd.metrics.frechet import frechet_by_steps as frechet_by_steps
from keras_dmmd.metrics.frechet import frechet_distance as frechet_distance
from keras_dmmd.metrics.gradient_moment import GradientMoment as GradientMoment
from keras_dmmd.metrics.molecules import ChemNetFeatures as ChemNetFeatures
from keras_dmmd.metrics.molecules import score_molecules as score_molecules
from keras_dmmd.metrics.nelbo import BitsPerToken as BitsPerToken
from keras_dmmd.metrics.reference import BitsPerCharacter as BitsPerCharacter
from keras_dmmd.metrics.reference import CausalReference as CausalReference
from keras_dmmd.metrics.reference import GenerativePerplexity as GenerativePerplexity
from keras_dmmd.metrics.reference import bits_per_character as bits_per_character
from keras_dmmd.metrics.reference import generative_perplexity as generative_perplexity
from keras_dmmd.metrics.streaming import SampleScore as SampleScore
from keras_dmmd.metrics.streaming import StreamingMetric as StreamingMetric
from keras_dmmd.metrics.streaming import ask as ask
from keras_dmmd.metrics.text import known_words as known_words
from keras_dmmd.metrics.text import mean_and_error as mean_and_error
from keras_dmmd.metrics.text import unigram_entropy as unigram_entropy
from keras_dmmd.metrics.total_variation import total_variation as total_variation
