"""Weights of MDLM, Duo and SDTT from strangers: refused in one sentence, by file and entry."""

import pathlib

import numpy as np
import pytest

from keras_dmmd.conversion.dit import load_dit, read_weights
from tests.builders import numpy
from tests.weight_files import hostile
from tests.weight_files.hostile import tensor

HERE = pathlib.Path(__file__).parent
FREQUENCIES = "rotary_emb.inv_freq"


@pytest.fixture(scope="module")
def arrays():
    pytest.importorskip("safetensors")
    return read_weights(HERE / "mdlm.safetensors")


def load(path, **kwargs):
    return load_dit(path, length=7, **kwargs)


def without(arrays, *parts):
    return {name: array for name, array in arrays.items() if not any(part in name for part in parts)}


def doubled(arrays, *names):
    """With arrays that are twice as long as they should be in their first dimension."""
    return {**arrays, **{name: np.concatenate([arrays[name]] * 2) for name in names}}


TABLE, NORM, TIMES = "vocab_embed.embedding", "output_layer.norm_final.weight", "sigma_map.mlp.0.weight"
HEAD, QKV = "output_layer.linear.weight", "blocks.1.attn_qkv.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "blocks.1000000000.norm1.weight": a[NORM]}, "odd name 'blocks.1000000000"),
        (lambda a: {**a, "blocks.9999.norm1.weight": a[NORM]}, "'blocks.9999', but lack 'blocks.2'"),
        (lambda a: {**a, "blocks.x.norm1.weight": a[NORM]}, "odd name 'blocks.x.norm1.weight'"),
        (lambda a: {**a, "blocks.-1.norm1.weight": a[NORM]}, "odd name 'blocks.-1"),
        (lambda a: {**a, "blocks.01.norm1.weight": a[NORM]}, "odd name 'blocks.01"),
        (lambda a: {**a, "blocks.²": a[NORM]}, "odd name 'blocks"),
        (lambda a: {**a, "blocks.": a[NORM]}, "odd name 'blocks"),
        (lambda a: {**a, f"model.{TABLE}": a[TABLE]}, f"'{TABLE}' twice"),
        (lambda a: without(a, "blocks."), "have 0 blocks.* lack 'blocks.0'"),
        (lambda a: without(a, "blocks.0."), "have 1 blocks.* lack 'blocks.0'"),
        (lambda a: without(a, "blocks.1.mlp.0.bias"), "lack 'blocks.1.mlp.0.bias'"),
        (lambda a: without(a, "blocks.0.mlp.0.bias"), "lack 'blocks.0.mlp.0.bias'"),
        (lambda a: without(a, "sigma_map"), f"'{TIMES}' and 3 more are missing"),
        (lambda a: without(a, FREQUENCIES), "pass `num_heads`"),
        (lambda a: {**a, FREQUENCIES: np.zeros((2, 2))}, r"has shape \(2, 2\): it must have 1"),
        (lambda a: {**a, FREQUENCIES: np.zeros(0)}, "have 0 frequencies .* for 16 features"),
        (lambda a: {**a, FREQUENCIES: np.zeros(3)}, "have 3 frequencies .* for 16 features"),
        (lambda a: {**a, FREQUENCIES: np.zeros(300)}, "have 300 frequencies .* for 16 features"),
        (lambda a: {**a, TABLE: np.zeros(3)}, r"has shape \(3,\): it must have 2"),
        (lambda a: {**a, TABLE: np.zeros(())}, r"has shape \(\): it must have 2"),
        (lambda a: {**a, TABLE: ("F32", (0, 10**12), b"")}, "are of 0 ids"),
        (lambda a: {**a, TABLE: ("F32", (10**12, 0), b"")}, "make no network|make no heads"),
        (lambda a: {**a, NORM: np.full_like(a[NORM], np.inf)}, f"'{NORM}'.*values that are not finite"),
        (lambda a: doubled(a, TABLE), f"'{HEAD}' .* has shape"),
        (lambda a: doubled(a, HEAD), f"'{HEAD}' .* has shape"),
        (lambda a: doubled(a, "output_layer.linear.bias"), "'output_layer.linear.bias' .* has shape"),
        (lambda a: doubled(a, "sigma_map.mlp.0.bias"), "has shape .* a network of 2 blocks of 16"),
        (lambda a: doubled(a, QKV), f"'{QKV}' .* has shape"),
        (lambda a: {**a, TIMES: a[TIMES][:, :-1]}, f"'{TIMES}' .* has shape"),
    ],
)
def test_weights_that_make_no_network(change, message, arrays, tmp_path):
    path = tmp_path / "odd.safetensors"
    hostile.write_safetensors(path, change(arrays))
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def ckpt(path, arrays, **changes):
    """A checkpoint of arrays; `changes` are tensors by the last part of their names."""
    places = {name: str(i) for i, name in enumerate(arrays)}
    state = {}
    for name, array in arrays.items():
        strides = [s // array.itemsize for s in array.strides]
        state[f"backbone.{name}"] = tensor(places[name], array.shape, strides)
    storages = {places[name]: array for name, array in arrays.items()}
    hostile.write_ckpt(path, {"state_dict": {**state, **changes}}, storages)
    return path


def test_a_checkpoint_without_torch(arrays, tmp_path):
    """What was written here by hand loads as what Torch writes does."""
    z, t = np.arange(7, dtype="int32")[None], np.ones(1, "float32")
    own, expected = load(ckpt(tmp_path / "a.ckpt", arrays)), load(HERE / "mdlm.safetensors")
    np.testing.assert_array_equal(numpy(own.logits(z, t)), numpy(expected.logits(z, t)))


@pytest.mark.parametrize("shape", [(10**11,), (11, 10**10), (10**5, 10**6)])
@pytest.mark.parametrize("stride", [0, 1])
def test_a_stride_of_nothing(shape, stride, arrays, tmp_path):
    odd = tensor("0", shape, [stride] * len(shape))
    path = ckpt(tmp_path / "a.ckpt", arrays, **{"backbone.vocab_embed.embedding": odd})
    with pytest.raises(ValueError, match="a.ckpt' are damaged at 'backbone.vocab_embed.embedding'"):
        load(path)


def test_blocks_that_share_what_one_of_them_has(arrays, tmp_path):
    """A thousand blocks of one storage: each is right, together they are larger than the file."""
    large = {n: a for n, a in arrays.items() if not n.startswith("blocks.")}
    big = np.zeros((2**10, 2**10), "float32")
    path = ckpt(tmp_path / "a.ckpt", {**large, "blocks.0.attn_qkv.weight": big})
    one = tensor(str(len(large)), big.shape, (2**10, 1))
    names = {name.split(".", 2)[2] for name in arrays if name.startswith("blocks.")}
    many = {f"backbone.blocks.{i}.{name}": one for i in range(20) for name in names}
    path = ckpt(tmp_path / "a.ckpt", {**large, "blocks.0.attn_qkv.weight": big}, **many)
    most, error = hostile.peak(lambda: load(path))
    with pytest.raises(ValueError, match="a.ckpt' are damaged.*declares"):
        raise error
    assert most < 2**21


def test_a_network_that_fits_no_length(arrays):
    with pytest.raises(ValueError, match="length"):
        load_dit(HERE / "mdlm.safetensors", length=-1)
