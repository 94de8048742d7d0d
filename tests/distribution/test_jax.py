"""`keras.distribution` on JAX: eight virtual devices are one, and hold an eighth each."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import numpy, small_model, tiny_model, tokens
from tests.distribution import jax_process

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras distributes on JAX")


def mesh(shape=(4, 2)):
    return keras.distribution.DeviceMesh(shape, ["batch", "model"][: len(shape)])


def split_layers(shape=(4, 2), data=None):
    layout = kd.distribution.layout_map(mesh(shape), data=data)
    return kd.distribution.SplitLayers(layout_map=layout, batch_dim_name="batch")


KINDS = {
    "one device": lambda: None,
    "fully sharded": kd.distribution.FullySharded,
    "model parallel": lambda: split_layers(data="batch"),
}


def under(kind):
    distribution = KINDS[kind]()
    return contextlib.nullcontext() if distribution is None else distribution.scope()


def weights(*models):
    return [numpy(v) for model in models for v in model.trainable_variables]


def devices_of(variable):
    """On how many devices a variable's value is, and which part of it each holds."""
    value = variable.value
    return len(value.sharding.device_set), value.addressable_shards[0].data.nbytes / value.nbytes


def teacher():
    """What training, evaluation and sampling return, with last batches that 8 devices do not divide."""
    x, model = tokens(11), tiny_model(words=8)
    model.compile(keras.optimizers.Adam(0.05, global_clipnorm=0.5))
    history = model.fit(x, batch_size=8, epochs=2, verbose=0).history
    found = [*history["loss"], *weights(model), *model.evaluate(x, batch_size=8, verbose=0)]
    found.append(model.predict(x, batch_size=8, verbose=0))
    generator = ((part,) for part in (x[:8], x[8:]))
    found += model.fit(generator, verbose=0).history["loss"]
    samples = [model.generate(n, steps=3, seed=5, batch_size=4) for n in (3, 11)]
    return found, samples, model


@pytest.fixture(scope="module")
def one_device():
    keras.utils.set_random_seed(0)
    return teacher()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "one device"])
def test_a_teacher(kind, one_device):
    with under(kind):
        found, samples, model = teacher()
        assert keras.distribution.distribution() is not None
    for a, b in zip(one_device[0], found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    for a, b in zip(one_device[1], samples, strict=True):
        np.testing.assert_array_equal(b, a)
    assert model.trace_count == 1  # 3 rows and 11, in batches of 4 that become 8
    assert {devices_of(v)[0] for v in model.variables} == {8}


def distiller(seed=0):
    models = [tiny_model(seed + i, words=8) for i in range(3)]
    made = kd.DMMDDistiller(*models, steps=2)
    made.compile(*(keras.optimizers.Adam(0.05, use_ema=True) for _ in range(2)))
    return made


def test_a_distiller_is_an_eighth_on_each_device():
    runs = []
    for kind in ("one device", "fully sharded"):
        with under(kind):
            model = distiller()
            history = model.fit(tokens(16), batch_size=8, verbose=0).history
            runs.append((history, weights(model)))
    (one, expected), (eight, found) = runs
    for name, values in one.items():
        np.testing.assert_allclose(eight[name], values, rtol=1e-5, atol=1e-5)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    state = [v for v in (*model.variables, *model.optimizer.variables) if 8 in v.shape]
    assert len(state) == 3 * 3 + 2 * 3 * 3  # of three networks; two moments and an average of two
    assert {devices_of(v) for v in state} == {(8, 1 / 8)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: small_model(hidden_dim=32, num_heads=4),
        lambda: small_model(hidden_dim=32, num_heads=4, norm_scale=True),  # as published DiTs are
        lambda: kd.DiffusionModel(
            kd.BlockDenoiser(3, block_size=5, hidden_dim=32, num_layers=1, num_heads=4),
            kd.MaskedDiffusion(3),
            length=5,
        ),
    ],
)
def test_layers_are_split(make):
    """All kernels of a block, over both axes; what two devices do not divide stays whole."""
    with split_layers(data="batch").scope():
        model = make()
        model.build((None, 5))
    of = {v.path.split("/", 1)[1]: devices_of(v)[1] for v in model.denoiser.variables if "/" in v.path}
    for layer in ("qkv", "attention_out", "mlp_in", "mlp_out"):
        assert of[f"block_0/{layer}/kernel"] == 1 / 8
    assert of["block_0/mlp_in/bias"] == 1 / 2 and of["block_0/modulation/kernel"] == 1 / 4
    assert of["token_embedding/embeddings"] in (1 / 8, 1 / 2)  # 4 words; or 3, which 4 do not divide
    assert of["head/kernel"] == 1 / 4 and of["head/bias"] == 1  # 3 words


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"device_mesh": 8}, "`device_mesh` must be"),
        ({"model": "x"}, "`model`"),
        ({"data": 3}, "`data`"),
    ],
)
def test_other_meshes_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        kd.distribution.layout_map(**{"device_mesh": mesh(), **arguments})


def test_a_weight_that_no_device_divides_is_on_all():
    with under("fully sharded"):
        layer = keras.layers.Dense(3)
        layer.build((None, 5))
        wide = keras.layers.Dense(16)
        wide.build((None, 24))
    assert devices_of(layer.kernel) == (8, 1) and devices_of(layer.bias) == (8, 1)
    assert devices_of(wide.kernel) == (8, 1 / 8)
    assert wide.kernel.value.addressable_shards[0].data.shape == (3, 16)


def start(folder, first_epoch=0):
    """Two processes over the loopback, begun."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.distribution.jax_process", address]
    return [subprocess.Popen([*command, str(i), folder, str(first_epoch)]) for i in range(2)]


def end(processes):
    """How they ended."""
    try:
        return [process.wait(300) for process in processes]
    finally:
        for process in processes:
            process.kill()


def read(folder, name):
    """What both processes wrote: the same, a list of arrays."""
    found = []
    for number in range(2):
        with np.load(os.path.join(folder, f"{number}_{name}.npz")) as file:
            found.append([file[key] for key in file.files])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    return found[0]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """On two devices each, and this one on one device; until one of them is killed, and both go on."""
    folder = str(tmp_path)
    begun = start(folder)
    expected = jax_process.results(), jax_process.train(f"{folder}/one")
    assert end(begun) == [0, -signal.SIGKILL]
    shutil.copytree(f"{folder}/run", f"{folder}/here")
    begun = start(folder, first_epoch=1)
    assert_close(read(folder, "results"), expected[0])
    with open(f"{folder}/0_lost") as file:
        assert file.read().startswith("Process 0 of 2 has lost another one, which ended.")
    said = []
    for number in range(2):
        with open(f"{folder}/{number}_said.json") as file:
            said.append(json.load(file))
    check_rows(*(one["seen"] for one in said))
    check_refusals(*(one["refused"] for one in said))
    assert_close(jax_process.train(f"{folder}/here", first_epoch=1), rest(expected[1]))
    assert end(begun) == [0, 0]
    assert_close(read(folder, "resumed"), rest(expected[1]))


def rest(trained):
    """Of what a whole run returned: the losses after the first epoch, and weights."""
    return [trained[0][1:], *trained[1:]]


def check_rows(first, second):
    """Every row once an epoch, whoever gives it to whom."""
    wanted = list(range(0, 5 * jax_process.ROWS, 5))
    assert len(first) == 8 and first.keys() == second.keys()
    for name, batches in first.items():
        assert batches[-1] == second[name][-1]  # so that Keras goes on as long in both
        assert len(batches) == len(second[name]) and batches[-1] in (None, len(batches) - 1)
        rows = []
        for (is_whole, ids), (other_is_whole, others) in zip(
            batches[:-1], second[name][:-1], strict=True
        ):
            assert is_whole == other_is_whole and (not is_whole or ids == others)
            rows += ids if is_whole else ids + others
        assert sorted(rows) == wanted, name
        assert batches[-2][0]  # three rows, which each of them has


def check_refusals(*said):
    words = [
        "2 processes that need the same rows in the same order were given different",
        "2 processes were given different arrays, of [16, 8] rows",
        "the same rows",
        "cannot be read",
        "for one process of JAX",
    ]
    words += ["none of which can save all"] * 2
    for found in said:
        for sentence, word in zip(found, words, strict=True):
            assert word in sentence
