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


def hub_denoiser(remat, dropout=0.0):
    keras_hub = pytest.importorskip("keras_hub")
    from keras_dmmd.models.hub import HubDenoiser

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=64,
        max_sequence_length=32,
        dropout=dropout,
    )
    return HubDenoiser(backbone, mask_token_id=3, share=False, remat=remat)


def test_gradients_of_a_hubs_network():
    valid = ops.convert_to_tensor(np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool))

    def tied(remat):  # the parts of it that no token and no feature reaches have no gradient
        denoiser = hub_denoiser(remat)
        for layer in denoiser.backbone.layers:
            layer.trainable = "transformer" in layer.name
        return denoiser

    assert_same(tied, valid=valid, training=True)


def test_a_hubs_network_is_kept_with_it_and_refuses_dropout(tmp_path):
    denoiser = hub_denoiser(True)
    assert type(denoiser).from_config(denoiser.get_config()).remat
    with pytest.raises(ValueError, match="cannot be made again .* `dropout=0`"):
        hub_denoiser(True, dropout=0.1)
    denoiser.remat = False
    assert not type(denoiser).from_config(denoiser.get_config()).remat


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
@pytest.mark.parametrize("make", [lambda remat: kd.Denoiser(3, remat=remat, **SIZE), hub_denoiser])
def test_less_is_kept(make):
    import torch

    def kept(remat):
        denoiser = make(remat)
        sizes = {}

        def pack(tensor):
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        weights = {value.value.data_ptr() for value in denoiser.trainable_variables}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            denoiser(ops.tile(ops.convert_to_tensor(Z), (1, 8)), ops.convert_to_tensor(T))
        return sum(size for pointer, size in sizes.items() if pointer not in weights)

    assert kept(True) < kept(False) / 4
