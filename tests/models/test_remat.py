"""What is made again for gradients is what was made: values, gradients and what they keep."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import SMALL, numpy, randomise

SIZE = {**SMALL, "num_layers": 2}
Z = np.array([[0, 3, 1, 3], [3, 3, 2, 0]], "int32")
T = np.array([0.3, 0.7], "float32")


def value_and_gradients(denoiser, **told):
    def loss():
        return ops.sum(
            ops.sin(denoiser(ops.convert_to_tensor(Z), ops.convert_to_tensor(T), **told))
        ), {}

    jax = keras.backend.backend() == "jax"
    with keras.StatelessScope() if jax else contextlib.nullcontext():
        (value, _), gradients = backend.value_and_grad(loss, denoiser.trainable_variables)
    return [numpy(value), *map(numpy, gradients)]


def assert_same(make, **told):
    """A denoiser's value and gradients are those of one that keeps all; no gradient is 0."""
    found = [value_and_gradients(randomise(make(remat)), **told) for remat in (True, False)]
    for own, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-4, atol=1e-5)
    assert all(np.abs(gradient).max() > 0.0 for gradient in found[0][1:])


def test_gradients_with_dropout():
    told = {"labels": np.array([0, 1]), "valid": np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)}
    assert_same(
        lambda remat: kd.Denoiser(3, remat=remat, dropout=0.4, num_classes=2, **SIZE),
        training=True,
        **{name: ops.convert_to_tensor(value) for name, value in told.items()},
    )


def test_gradients_through_what_blocks_attend_to():
    context = ops.convert_to_tensor(np.array([[0, 1, 1, 2], [1, 1, 2, 0]], "int32"))
    assert_same(lambda remat: kd.BlockDenoiser(3, block_size=2, remat=remat, **SIZE), context=context)


def test_it_can_be_switched_on_and_is_kept_in_files(tmp_path):
    model = kd.DiffusionModel(kd.Denoiser(3, **SIZE), kd.MaskedDiffusion(3), length=4)
    assert not model.denoiser.remat
    model.denoiser.remat = True
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.denoiser.remat
    assert all(block.remat for block in loaded.denoiser.blocks)
    np.testing.assert_array_equal(loaded.generate(2, seed=0), model.generate(2, seed=0))
    with pytest.raises(ValueError, match="`remat` must be"):
        model.denoiser.remat = "full"


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="asks Torch what it keeps")
def test_less_is_kept():
    import torch

    def kept(remat):
        denoiser = kd.Denoiser(3, remat=remat, **SIZE)
        sizes = {}

        def pack(tensor):
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        weights = {value.value.data_ptr() for value in denoiser.trainable_variables}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            denoiser(ops.tile(ops.convert_to_tensor(Z), (1, 8)), ops.convert_to_tensor(T))
        return sum(size for pointer, size in sizes.items() if pointer not in weights)

    assert kept(True) < kept(False) / 4
