"""Files: run in a process of its own, without Keras, they give what `generate` gives."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.backend.writers import BACKENDS, WRITERS
from keras_dmmd.exporting.formats import SUFFIXES
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.builders import distiller, numpy, randomise, small_model

CALLS = {"stablehlo": 2}  # others take long to trace: one, and test_graphs.py makes several
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
# What runs a file of each format, from a dict `x` of arrays; docs/exporting.md says the same.
RUN = {
    "stablehlo": """
import jax, jax.export
run = jax.export.deserialize(bytearray(open(path, "rb").read())).call
def tokens(x): return np.asarray(run(*x.values()))
""",
    "saved_model": """
import tensorflow as tf
run = tf.saved_model.load(path).signatures["serving_default"]
def tokens(x): return run(**{k: tf.constant(v) for k, v in x.items()})["tokens"].numpy()
""",
    "torch": """
import torch
run = torch.export.load(path).module()
def tokens(x): return run(*map(torch.as_tensor, x.values())).numpy()
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(path)
def tokens(x): return session.run(["tokens"], x)[0]
""",
}
LOOP = """
import json, sys
import numpy as np
path, requests, out = sys.argv[1:]
assert "keras" not in sys.modules and "keras_dmmd" not in sys.modules
{run}
inputs = [i["name"] for i in json.load(open(path + ".json"))["inputs"]]
given = np.load(requests)
found = [tokens({{n: given[f"{{i}}.{{n}}"] for n in inputs}}) for i in range(2)]
np.savez(out, *found)
assert "keras_dmmd" not in sys.modules
"""


@pytest.fixture
def model():
    made = small_model(num_classes=2, noise="gaussian", hidden_dim=32)
    return randomise(made)


def needed(format):
    for name in NEEDS.get(format, ()):
        pytest.importorskip(name)


def requests(model, calls):
    """Of two sizes: classes, a token that is given, and what `generate` makes of them."""
    inputs, expected = {}, []
    for i, n in enumerate((2, 4)):
        known = np.zeros((n, 5), bool)
        known[:, 1] = True
        given, labels = np.full((n, 5), 2, "int32"), np.arange(n, dtype="int32") % 2
        seeds, rows = np.full(n, 7 + i, "int32"), np.arange(n, dtype="int32")
        values = {"seeds": seeds, "rows": rows, "known": known, "given": given, "labels": labels}
        inputs |= {f"{i}.{name}": value for name, value in values.items()}
        options = {"prompts": given, "known": known, "labels": labels, "jit_compile": False}
        expected.append(model.generate(n, steps=calls, seed=7 + i, verbose=0, **options))
    return inputs, expected


@pytest.mark.slow
@pytest.mark.parametrize("format", WRITERS)
def test_a_file_gives_the_tokens_of_generate_without_keras(format, model, tmp_path):
    needed(format)
    path = str(tmp_path / f"student{SUFFIXES[format]}")
    calls = CALLS.get(format, 1)
    model.export(path, steps=calls)
    inputs, expected = requests(model, calls)
    np.savez(tmp_path / "requests.npz", **inputs)
    paths = [path, tmp_path / "requests.npz", tmp_path / "found.npz"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    code = LOOP.format(run=RUN[format])
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=tmp_path, env=environment)
    found = np.load(paths[-1])
    for one, other in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    content = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(str(pathlib.Path(kd.__file__).parent).encode() in part for part in content)
    if format == "onnx":
        check_integers(model, path, inputs, calls)


def check_integers(model, path, inputs, calls):
    """The same file with weights as int8: the tokens of a model whose weights were rounded."""
    import onnx
    import onnxruntime

    from keras_dmmd.backend.writers.onnx import save

    save(onnx.load(path), path + ".int8.onnx", "int8")
    assert os.path.getsize(path + ".int8.onnx") < os.path.getsize(path)
    session = onnxruntime.InferenceSession(path + ".int8.onnx")
    rounded = 0
    for weight in model.denoiser.weights:
        values = numpy(weight)
        if values.ndim == 2 and values.size >= 1024:
            step = np.abs(values).max(axis=0) / 127.0
            weight.assign(np.round(values / step) * step)
            rounded += 1
    assert rounded >= 5
    _, expected = requests(model, calls)
    for i, wanted in enumerate(expected):
        given = {name[2:]: value for name, value in inputs.items() if name.startswith(f"{i}.")}
        np.testing.assert_array_equal(session.run(None, given)[0], wanted)


FORMAT = next(format for format in WRITERS if format != "onnx")  # what needs no other package


def written(tmp_path, model, **options):
    path = str(tmp_path / f"file{SUFFIXES[FORMAT]}")
    kd.export(model, path, format=FORMAT, **options)
    return path


def test_what_stands_beside_it_says_how_to_use_it(tmp_path):
    tokenizer = CharacterTokenizer("abc")
    model = kd.DiffusionModel(small_model().denoiser, kd.MaskedDiffusion(3), 5, tokenizer=tokenizer)
    path = written(tmp_path, model, kind="prior", batch=2, steps=4)
    with open(path + ".json") as file:
        found = json.load(file)
    assert [(i["name"], i["dtype"], i["shape"]) for i in found["inputs"]] == [
        ("seeds", "int32", [2]),
        ("rows", "int32", [2]),
        ("known", "bool", [2, 5]),
        ("given", "int32", [2, 5]),
    ]
    assert found["output"] == {"name": "tokens", "dtype": "int32", "shape": [2, 5]}
    assert found["times"] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert keras.saving.deserialize_keras_object(found["tokenizer"]).encode("cab").tolist() == [2, 0, 1]


@pytest.mark.parametrize("format", sorted(BACKENDS.keys() - WRITERS.keys()))
def test_another_backends_format_says_where_it_is_written(format, tmp_path):
    with pytest.raises(ValueError, match=f"{format}.*KERAS_BACKEND={BACKENDS[format][0]}"):
        small_model().export(tmp_path / "file", format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "loop"}, r"`kind` must be one of \('sampler', 'step', 'prior'\)"),
        ({"batch": 0}, "`batch` must be an integer of at least 1"),
        ({"steps": 1000}, "at most 256 of them. Received: 1000"),
        ({"kind": "step", "sampler": "confidence"}, "remembers something from call to call"),
        ({"guidance_scale": 2.0}, "labels, which this model does not take"),
        ({"temperature": -1}, "`temperature`"),
        ({"weights": "int4"}, "`weights` must be one of"),
        ({"weights": "int8"}, "then export it without `weights`"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        written(tmp_path, small_model(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_path_says_the_format(tmp_path):
    with pytest.raises(ValueError, match="ends as a file of format 'onnx' does"):
        small_model().export(tmp_path / "x.onnx", format=FORMAT)
    with pytest.raises(ValueError, match=r"must end in .onnx, .pt2 or .stablehlo"):
        small_model().export(tmp_path / "x.h5")


def test_other_models_are_refused(tmp_path):
    made = distiller()
    with pytest.raises(ValueError, match="of a distiller its student"):
        kd.export(made, tmp_path / "x.onnx")
    with pytest.raises(NotImplementedError, match=r"distiller.student.export"):
        made.export(tmp_path / "x.onnx")


def test_an_error_leaves_the_last_file(tmp_path, monkeypatch):
    path = written(tmp_path, small_model(), kind="prior", steps=1)
    before = pathlib.Path(path + ".json").read_bytes()

    def fail(*args):
        raise OSError("no room")

    monkeypatch.setitem(WRITERS, FORMAT, fail)
    with pytest.raises(OSError, match="no room"):
        written(tmp_path, small_model(), kind="prior", steps=3)
    assert pathlib.Path(path + ".json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
