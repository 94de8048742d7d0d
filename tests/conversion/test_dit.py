"""The networks of MDLM, Duo and SDTT: their public code's logits, from their weights.

`tests/oracles/make_dit.py` made the files: small random weights, inputs, and what the public code says.
"""

import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.conversion.dit import load_dit, read_weights
from tests.builders import ON_TORCH

pytest.importorskip("safetensors")
HERE = pathlib.Path(__file__).parent
PROCESSES = {"mdlm": "masked", "duo": "uniform", "sdtt": "masked"}
every_file = pytest.mark.parametrize("name", PROCESSES)


def load(name, **kwargs):
    return load_dit(HERE / f"{name}.safetensors", PROCESSES[name], length=7, **kwargs)


@every_file
def test_logits_are_those_of_the_public_code(name):
    fixture = np.load(HERE / f"{name}.npz")
    model = load(name)
    logits = ops.convert_to_numpy(model.logits(fixture["z_t"], fixture["t"]))
    K = 11 if name == "duo" else 10
    assert logits.shape == (3, 7, K)
    # Theirs runs in bfloat16 under autocast only on a GPU; here both are float32.
    np.testing.assert_allclose(logits, fixture["logits"][..., :K], atol=1e-4)
    assert np.abs(fixture["logits"]).max() > 1


def test_only_duo_is_told_the_time():
    for name, told in (("mdlm", False), ("duo", True)):
        model, z = load(name), np.arange(7, dtype="int32")[None]
        a, b = (ops.convert_to_numpy(model.logits(z, np.array([t], "float32"))) for t in (0.1, 0.9))
        assert (np.abs(a - b).max() > 1e-3) == told


@ON_TORCH
def test_a_published_teacher_is_distilled(tmp_path):
    teacher = load("mdlm")
    distiller = kd.DMMDDistiller(teacher, steps=2)
    distiller.compile()
    x = np.random.default_rng(0).integers(0, 10, (32, 7)).astype("int32")
    distiller.fit(x, verbose=0)
    kd.presets.save_to_preset(distiller.student, tmp_path)
    assert kd.from_preset(tmp_path).generate(2, steps=2).shape == (2, 7)


def test_checkpoints_of_lightning(tmp_path):
    """`state_dict` and its average, whose parameters have an order and no names."""
    torch = pytest.importorskip("torch")
    arrays = read_weights(HERE / "duo.safetensors")
    state = {f"backbone._orig_mod.{name}": torch.tensor(value) for name, value in arrays.items()}
    shadow = [v * 2 for k, v in state.items() if "inv_freq" not in k]
    content = {"state_dict": state, "ema": {"decay": 0.9999, "shadow_params": shadow}, "epoch": 3}
    torch.save(content, tmp_path / "last.ckpt")
    plain = read_weights(tmp_path / "last.ckpt", ema=False)
    average = read_weights(tmp_path / "last.ckpt")
    assert plain.keys() == arrays.keys() == average.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(plain[name], value)
        np.testing.assert_array_equal(average[name], value if "inv_freq" in name else 2 * value)
    model = load_dit(tmp_path / "last.ckpt", "uniform", length=7, ema=False)
    z, t = np.zeros((1, 7), "int32"), np.ones(1, "float32")
    expected = ops.convert_to_numpy(load("duo").logits(z, t))
    np.testing.assert_allclose(ops.convert_to_numpy(model.logits(z, t)), expected, atol=1e-6)
    content["ema"]["shadow_params"] = shadow[1:]
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="pass `ema=False`"):
        read_weights(tmp_path / "other.ckpt")


def test_files_that_are_no_weights(tmp_path):
    torch = pytest.importorskip("torch")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_dit(tmp_path / "nowhere.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="broken.safetensors.*damaged"):
        load_dit(tmp_path / "broken.safetensors")
    torch.save({"state_dict": {"fc.weight": torch.ones(2)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="not those of MDLM, Duo or SDTT.*vocab_embed"):
        load_dit(tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="no weights by name: list"):
        load_dit(tmp_path / "list.ckpt")
    (tmp_path / "broken.ckpt").write_bytes(b"no pickle")
    with pytest.raises(ValueError, match="broken.ckpt.*cannot be read as weights alone"):
        load_dit(tmp_path / "broken.ckpt")
    with pytest.raises(ValueError, match="'masked', 'uniform'.*'gaussian'"):
        load_dit(HERE / "duo.safetensors", "gaussian")


def make(folder):
    os.mkdir(folder)


class Runs:
    """What a pickle can do: on loading, call any function."""

    def __init__(self, function, folder):
        self.function, self.folder = function, folder

    def __reduce__(self):
        return self.function, (self.folder,)


def test_settings_beside_the_weights_are_not_opened(tmp_path):
    """Lightning keeps objects of other packages beside the weights: none is made, no function runs."""
    torch = pytest.importorskip("torch")
    settings = {"config": zipfile.ZipInfo("x"), "tokenizer": Runs(make, str(tmp_path / "was_here"))}
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"backbone.a": torch.ones(2)}, "hyper_parameters": settings}, path)
    assert {k: v.tolist() for k, v in read_weights(path).items()} == {"a": [1.0, 1.0]}
    assert not (tmp_path / "was_here").exists()
    torch.load(path, weights_only=False)  # which would have made the folder
    assert (tmp_path / "was_here").exists()
    torch.save({"state_dict": {}, "more": Runs(os.mkdir, str(tmp_path / "more"))}, path)
    with pytest.raises(ValueError, match="(?s)other objects, which are not opened.*posix"):
        read_weights(path)


def test_folders_and_handles(tmp_path):
    z, t = np.zeros((1, 7), "int32"), np.ones(1, "float32")
    expected = ops.convert_to_numpy(load("mdlm").logits(z, t))
    shutil.copy(HERE / "mdlm.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    for place in (tmp_path, f"file://{tmp_path}"):
        model = load_dit(place, length=7)
        np.testing.assert_allclose(ops.convert_to_numpy(model.logits(z, t)), expected, atol=1e-6)
    shutil.copy(HERE / "duo.safetensors", tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="one file of weights.*model.safetensors.*other.safetensors"):
        load_dit(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="one file of weights.*none"):
        load_dit(tmp_path / "empty")


def test_the_published_size():
    """170 million parameters: 12 blocks of 768 features over the words of GPT-2 and a mask.

    Of the blocks, which are alike, one is made.
    """
    denoiser = kd.Denoiser(
        50257,
        num_heads=12,
        hidden_dim=768,
        num_layers=1,
        cond_dim=128,
        time_conditioning=False,
        num_frequencies=128,
        norm_scale=True,
        norm_epsilon=1e-5,
    )
    block = 2 * 768 + 4 * 768**2 + 2 * 4 * 768**2 + 5 * 768 + (128 + 1) * 6 * 768
    time = (256 + 1) * 128 + (128 + 1) * 128
    ends = 50258 * 768 + 768 + (128 + 1) * 2 * 768 + (768 + 1) * 50257
    assert denoiser.count_params() == block + time + ends
    assert 169e6 < 12 * block + time + ends < 170e6
    assert tuple(denoiser.token_embedding.embeddings.shape) == (50258, 768)
    assert tuple(denoiser.blocks[0].qkv.kernel.shape) == (768, 2304)
    assert tuple(denoiser.blocks[0].modulation.kernel.shape) == (128, 4608)
