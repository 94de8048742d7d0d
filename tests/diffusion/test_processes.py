"""The suite of `suite.py` for every process, and for one of a user's own."""

import functools

import keras
from keras import ops

import keras_dmmd as kd
from tests.builders import ON_TORCH
from tests.diffusion.suite import ProcessSuite


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class SkewedDiffusion(kd.DiffusionProcess):
    """Noise that prefers token 0, and less so with time: all that one's own process has to write."""

    def noise(self, t):
        first = ops.one_hot(ops.zeros_like(t, dtype="int32"), self.vocabulary_size)
        share = ops.expand_dims(0.6 - 0.2 * ops.cast(t, "float32"), -1)
        return share * first + (1.0 - share) / self.vocabulary_size

    def noise_derivative(self, t):
        first = ops.one_hot(ops.zeros_like(t, dtype="int32"), self.vocabulary_size)
        return -0.2 * (first - 1.0 / self.vocabulary_size)


class TestMasked(ProcessSuite):
    make = kd.MaskedDiffusion
    test_it_trains_samples_and_is_distilled = None  # all other tests of the library do that


class TestUniform(ProcessSuite):
    make = kd.UniformDiffusion
    test_it_trains_samples_and_is_distilled = None


class TestUniformLeaveOneOut(ProcessSuite):
    make = functools.partial(kd.UniformDiffusion, prediction="loo")
    test_it_trains_samples_and_is_distilled = None


class TestHybrid(ProcessSuite):
    make = kd.HybridDiffusion


class TestHybridLeaveOneOut(ProcessSuite):
    make = functools.partial(kd.HybridDiffusion, final_uniform_share=0.3, prediction="loo")
    test_it_trains_samples_and_is_distilled = None


class TestSkewed(ProcessSuite):
    make = SkewedDiffusion

    @ON_TORCH
    def test_it_trains_samples_and_is_distilled(self, linear):
        super().test_it_trains_samples_and_is_distilled(linear)
