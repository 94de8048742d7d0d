"""What is read of a denoiser, whatever layer it is."""

import keras
import pytest

import keras_dmmd as kd
from keras_dmmd.models.capabilities import Capabilities
from tests.builders import SMALL, exact_model, small_model


def test_of_the_networks_that_ship():
    process = kd.MaskedDiffusion(5)
    plain = Capabilities.of(kd.Denoiser(5, **SMALL), process)
    assert (plain.vocabulary_size, plain.num_states) == (5, 6)
    assert not (plain.noise or plain.prompts or plain.self_conditioning or plain.num_classes)
    assert plain.takes_noise and plain.training_argument and plain.block_size is None
    options = {"noise": "pyramid", "prompts": True, "self_conditioning": True, "num_classes": 3}
    rich = kd.Denoiser(5, **SMALL, grid=(2, 3), **options)
    found = Capabilities.of(rich, process)
    assert found.noise and found.prompts and found.self_conditioning
    assert (found.num_classes, found.grid, found.noise_layer) == (3, (2, 3), rich.noise)
    blocks = kd.BlockDenoiser(5, block_size=4, **SMALL)
    assert Capabilities.of(blocks, process).block_size == 4


def test_of_a_functional_model_and_a_bare_layer():
    tokens, times = keras.Input((4,), dtype="int32"), keras.Input(())
    x = keras.layers.Embedding(4, 8)(tokens) + times[:, None, None]
    functional = keras.Model([tokens, times], keras.layers.Dense(3)(x))

    class Bare(keras.layers.Layer):
        def call(self, z_t, t):
            return functional([z_t, t])

    process = kd.MaskedDiffusion(3)
    found = Capabilities.of(Bare(), process)
    assert (found.vocabulary_size, found.num_states) == (3, 4)
    assert not (found.noise or found.takes_noise or found.training_argument)
    model = kd.DiffusionModel(Bare(), process, length=4)
    assert model.generate(2, steps=2, jit_compile=False).shape == (2, 4)


def test_it_is_frozen_and_read_once():
    model = small_model()
    with pytest.raises(AttributeError):
        model.capabilities.prompts = True
    model.denoiser.prompts = True  # too late
    assert not model.capabilities.prompts
    assert not exact_model().capabilities.takes_noise


def test_what_does_not_fit_is_said_at_once():
    with pytest.raises(ValueError, match="takes 6 ids and predicts 5, but the process has 8 and 7"):
        kd.DiffusionModel(kd.Denoiser(5, **SMALL), kd.MaskedDiffusion(7))

    class Blocks(keras.layers.Layer):
        block_size = 2

        def call(self, z_t, t, context=None, cache=None, start=None):
            return z_t

    with pytest.raises(ValueError, match="needs the methods empty_cache, extend. Blocks lacks"):
        kd.DiffusionModel(Blocks(), kd.MaskedDiffusion(3))
