"""`keras.distribution` on JAX: eight virtual devices are one, and hold an eighth each."""

import functools
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
from tests.builders import TinyDenoiser, numpy, randomise, small_model, tiny_model, tokens
from tests.distribution import jax_process

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras distributes on JAX")


def mesh(shape=(4, 2)):
    return keras.distribution.DeviceMesh(shape, ["batch", "model"][: len(shape)])


def split_layers(shape=(4, 2), data=None):
    layout = kd.distribution.layout_map(mesh(shape), data=data)
    return kd.distribution.SplitLayers(layout_map=layout, batch_dim_name="batch")


KINDS = {
    "data parallel": keras.distribution.DataParallel,
    "fully sharded": kd.distribution.FullySharded,
    "model parallel": lambda: split_layers(data="batch"),
}
WORDS = 8


def devices_of(variable):
    """On how many devices a variable's value is, and which part of it each holds."""
    value = variable.value
    return len(value.sharding.device_set), value.addressable_shards[0].data.nbytes / value.nbytes


def trained(*models):
    return [numpy(v) for model in models for v in model.trainable_variables]


def transformer(kind):
    """A model of one layer, with random weights; rows of it are two blocks of tokens."""
    options = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "cond_dim": 8, "mlp_dim": 16}
    make = {"Denoiser": kd.Denoiser, "BlockDenoiser": functools.partial(kd.BlockDenoiser, block_size=4)}
    model = kd.DiffusionModel(make[kind](WORDS, **options), kd.MaskedDiffusion(WORDS), length=8)
    model.build()
    return randomise(model)


def everything(kind, distils):
    """Numbers that a teacher and its distillation return, samples, and both models."""
    x, model = np.random.default_rng(0).integers(0, WORDS, (16, 8)), transformer(kind)
    model.compile(keras.optimizers.SGD(0.1, global_clipnorm=0.5))
    found = model.fit(x, batch_size=8, verbose=0).history["loss"]
    samples, own = model.generate(8, steps=2, seed=5), [model]
    if distils:
        found += [
            *model.evaluate(x, batch_size=8, verbose=0),
            model.predict(x, batch_size=8, verbose=0),
        ]
        own.append(kd.DMMDDistiller(model, steps=2))
        own[1].compile(*(keras.optimizers.SGD(0.1, momentum=0.9) for _ in range(2)))
        logs = own[1].fit(x, batch_size=8, verbose=0).history
        found += [value for _, value in sorted(logs.items())]
    return [*found, *trained(*own)], samples, *own


@functools.cache
def on_one_device(kind, distils):
    keras.utils.set_random_seed(0)
    found, samples, model, *_ = everything(kind, distils)
    return found, samples, model.trace_count


def cases():
    """Each network under each layout; without asking for more, as compiling takes long, a few."""
    for kind in ("Denoiser", "BlockDenoiser"):
        for layout in KINDS:
            for distils in (False, True):
                few = distils == ((kind, layout) == ("Denoiser", "model parallel"))
                few &= (kind, layout) != ("BlockDenoiser", "data parallel")
                mark = pytest.mark.slow if few else pytest.mark.thorough
                yield pytest.param(kind, layout, distils, marks=mark)


@pytest.mark.parametrize("kind, layout, distils", cases())
def test_a_transformer(kind, layout, distils):
    """`fit`, `generate`, and with a distiller `evaluate` and `predict`, too: each compiled once."""
    expected, samples, traces = on_one_device(kind, distils)
    with KINDS[layout]().scope():
        found, drawn, model, *distiller = everything(kind, distils)
    assert_close(found, expected)
    np.testing.assert_array_equal(drawn, samples)
    assert model.trace_count == traces
    state = [v for own in (model, *distiller) for v in (*own.variables, *own.optimizer.variables)]
    assert {devices_of(v)[0] for v in state} == {8}
    if layout != "model parallel":  # see test_layers_are_split
        tables = {devices_of(v)[1] for v in state if len(v.shape) == 2}
        assert tables == {1 if layout == "data parallel" else 1 / 8}


def test_batches_that_devices_do_not_divide():
    """Last batches of three rows, of arrays and of a generator; samples of few rows and of many."""

    def teacher():
        x, model = tokens(11), tiny_model(words=WORDS)
        model.compile(keras.optimizers.Adam(0.05, global_clipnorm=0.5))
        found = model.fit(x, batch_size=8, epochs=2, verbose=0).history["loss"]
        found += [*trained(model), *model.evaluate(x, batch_size=8, verbose=0)]
        found.append(model.predict(x, batch_size=8, verbose=0))
        generator = ((part,) for part in (x[:8], x[8:]))
        found += model.fit(generator, verbose=0).history["loss"]
        return found, [model.generate(n, steps=3, seed=5, batch_size=4) for n in (3, 11)], model

    expected, samples, _ = teacher()
    with KINDS["fully sharded"]().scope():
        found, drawn, model = teacher()
        assert keras.distribution.distribution() is not None
    assert_close(found, expected)
    for a, b in zip(samples, drawn, strict=True):
        np.testing.assert_array_equal(b, a)
    assert model.trace_count == 1  # 3 rows and 11, in batches of 4 that become 8


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


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
    with KINDS["fully sharded"]().scope():
        layer = keras.layers.Dense(3)
        layer.build((None, 5))
        wide = keras.layers.Dense(16)
        wide.build((None, 24))
    assert devices_of(layer.kernel) == (8, 1) and devices_of(layer.bias) == (8, 1)
    assert devices_of(wide.kernel) == (8, 1 / 8)
    assert wide.kernel.value.addressable_shards[0].data.shape == (3, 16)


@pytest.fixture
def start(tmp_path):
    """A function that begins two processes over the loopback; none outlives the test."""
    begun = []

    def begin(first_epoch=0):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "tests.distribution.jax_process", address]
        options = [str(tmp_path), str(first_epoch)]
        begun.extend(two := [subprocess.Popen([*command, str(i), *options]) for i in range(2)])
        return two

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def end(processes):
    """How they ended."""
    return [process.wait(300) for process in processes]


def read(folder, name):
    """What both processes wrote: the same, a list of arrays."""
    found = []
    for number in range(2):
        with np.load(os.path.join(folder, f"{number}_{name}.npz")) as file:
            found.append([file[key] for key in file.files])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    return found[0]


@pytest.mark.slow
def test_two_processes_are_one(start, tmp_path):
    """On two devices each, and this one on one device; until one of them is killed, and both go on."""
    folder = str(tmp_path)
    begun = start()
    model, expected = jax_process.results()
    expected = expected, jax_process.train(f"{folder}/one")
    assert end(begun) == [0, -signal.SIGKILL]
    shutil.copytree(f"{folder}/run", f"{folder}/here")
    begun = start(first_epoch=1)
    assert_close(read(folder, "results"), expected[0])
    check_files(folder, model)
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


def check_files(folder, model):
    """The first process alone has written, and all of the weights that it shares with the other."""
    written = {name for name in os.listdir(folder) if name.startswith(("0_", "1_"))}
    assert {name.partition("_")[2] for name in written if name.startswith("1_")} == {
        "results.npz",
        "said.json",
    }
    assert os.listdir(f"{folder}/sweep/cells") and os.path.exists(f"{folder}/sweep/report.html")
    with keras.saving.custom_object_scope({"TinyDenoiser": TinyDenoiser}):
        loaded = keras.models.load_model(f"{folder}/0_model.keras")
        preset = kd.from_preset(f"{folder}/0_preset")
    assert_close(trained(loaded), trained(model))
    assert_close(map(numpy, loaded.optimizer.variables), map(numpy, model.optimizer.variables))
    for a, b in zip(trained(preset), trained(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)  # in half precision


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


def check_refusals(first, second):
    words = [
        "2 processes that need the same rows in the same order were given different",
        "2 processes were given different arrays, of [16, 8] rows",
        "the same rows",
        "`x` cannot be read",
        "disk",
        "Batch 1 of the data",
        "for one process of JAX",
    ]
    raising = {3: 0, 4: 1, 5: 1}  # of a call, the process that alone cannot go on
    for i, (word, *said) in enumerate(zip(words, first, second, strict=True)):
        assert all(word in sentence for sentence in said)
        for number, sentence in enumerate(said):
            is_told = sentence.startswith(f"Process {raising.get(i)} of 2 ended with an error: ")
            assert is_told == (i in raising and raising[i] != number)
