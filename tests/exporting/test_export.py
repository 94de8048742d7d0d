"""Files: run in a process of its own, without Keras, they give what `generate` gives."""

import importlib
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
from keras_dmmd.exporting.formats import SUFFIXES, WITH_INTEGERS, check_place
from keras_dmmd.exporting.graphs import Input
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.builders import ON_TORCH, distiller, numpy, randomise, small_model, tiny_model

STEPS = 2  # calls, in a file or in a loop around it
ROWS = 2  # of a fixed batch
# Kinds, rows and whether integers; of ONNX, which a browser takes, integers of either kind.
CASES = [("sampler", None, False), ("step", ROWS, True)]
ONNX_CASES = [("sampler", None, False), ("sampler", ROWS, True), ("step", None, True)]
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
# What runs a file of each format, from a dict `x` of arrays; docs/exporting.md says the same.
RUN = {
    "stablehlo": """
import jax, jax.export
def load(path):
    run = jax.export.deserialize(bytearray(open(path, "rb").read())).call
    return lambda x: np.asarray(run(*x.values()))
""",
    "saved_model": """
import tensorflow as tf
def load(path):
    run = tf.saved_model.load(path).signatures["serving_default"]
    return lambda x: run(**{k: tf.constant(v) for k, v in x.items()})["tokens"].numpy()
""",
    "litert": """
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tensorflow import lite
    Interpreter = lite.Interpreter
def load(path):
    run = Interpreter(path).get_signature_runner()
    return lambda x: run(**x)["tokens"]
""",
    "torch": """
import torch
def load(path):
    run = torch.export.load(path).module()
    return lambda x: run(*map(torch.as_tensor, x.values())).numpy()
""",
    "onnx": """
import onnxruntime
def load(path):
    session = onnxruntime.InferenceSession(path)
    return lambda x: session.run(["tokens"], x)[0]
""",
}
# All files of a backend in one process. A step begins with masks, but for what is given.
LOOP = """
import json, sys
import numpy as np
files, requests, out = sys.argv[1:]
assert "keras" not in sys.modules and "keras_dmmd" not in sys.modules
given, found = np.load(requests), {{}}
{loaders}
for name, path, kind, format, asked in json.loads(files):
    about = json.load(open(path + ".json"))
    inputs, tokens = [i["name"] for i in about["inputs"]], globals()["load_" + format](path)
    for i in asked:
        x = {{n: given[f"{{i}}.{{n}}"] for n in inputs if f"{{i}}.{{n}}" in given}}
        if kind == "sampler":
            z = tokens(x)
        else:
            z = np.where(x["known"], x["given"], about["vocabulary_size"]).astype("int32")
            for call, (t, s) in enumerate(zip(about["times"], about["times"][1:])):
                t, s = np.array(t, "float32"), np.array(s, "float32")
                own = {{"z": z, "t": t, "s": s, "call": np.array(call, "int32")}}
                z = tokens(own | x)
        found[f"{{name}}.{{i}}"] = z
np.savez(out, **found)
assert "keras_dmmd" not in sys.modules
"""


def made():
    """The same every time, with so many words that draws are by groups."""
    process = kd.MaskedDiffusion(40)
    return randomise(small_model(process, num_classes=2, noise="gaussian", hidden_dim=32))


def formats():
    """Those that this backend writes, and that something can run here."""
    for format in WRITERS:
        try:
            for name in NEEDS.get(format, ()):
                importlib.import_module(name)
        except ImportError:
            continue
        yield format


def request(i, n):
    """Classes, a token that is given, a seed."""
    known = np.zeros((n, 5), bool)
    known[:, 1] = True
    given, labels = np.full((n, 5), 2, "int32"), np.arange(n, dtype="int32") % 2
    seeds, rows = np.full(n, 7 + i, "int32"), np.arange(n, dtype="int32")
    return {"seeds": seeds, "rows": rows, "known": known, "given": given, "labels": labels}


def generated(model, x, calls):
    """What `generate` makes of a request."""
    options = {"prompts": x["given"], "known": x["known"], "labels": x["labels"]}
    options |= {"seed": int(x["seeds"][0]), "jit_compile": False, "verbose": 0}
    return model.generate(len(x["rows"]), steps=calls, **options)


def rounded():
    """That model with the weights that integers and scales of `weights="int8"` stand for."""
    model, tables = made(), 0
    for weight in model.denoiser.weights:
        values = numpy(weight)
        if values.ndim == 2 and values.size >= 1024:
            step = np.abs(values).max(axis=0) / 127.0
            weight.assign(np.round(values / step) * step)
            tables += 1
    assert tables >= 5
    return model


def quantized():
    model = made()
    model.quantize("int8")
    return model


def cases():
    """Of every format that is written here, what is exported: its kind, rows, and whether integers."""
    for format in formats():
        for case in ONNX_CASES if format == "onnx" else CASES:
            yield format, *case


@pytest.mark.slow
def test_files_give_the_tokens_of_generate_without_keras(tmp_path):
    """Samplers and steps of every format, for any number of rows and a fixed one, floats and int8."""
    asked = [request(0, ROWS), request(1, 4)]
    files, expected = [], {}
    for format, kind, batch, integers in cases():
        name = f"{format}.{kind}.{batch}"
        path = str(tmp_path / f"{kind}_{batch}{SUFFIXES[format]}")
        calls = 1 if kind == "sampler" and batch else STEPS  # one of each is enough: they take long
        by_writer = integers and format in WITH_INTEGERS
        model = quantized() if integers and not by_writer else made()
        options = {"weights": "int8"} if by_writer else {}
        model.export(path, kind=kind, steps=calls, batch=batch, **options)
        requests = (0, 1) if batch is None else (0,)
        files.append((name, path, kind, format, requests))
        same = rounded() if by_writer else model
        expected |= {f"{name}.{i}": generated(same, asked[i], calls) for i in requests}
    np.savez(
        tmp_path / "requests.npz",
        **{f"{i}.{name}": value for i, x in enumerate(asked) for name, value in x.items()},
    )
    paths = [json.dumps(files), tmp_path / "requests.npz", tmp_path / "found.npz"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    loaders = "".join(RUN[format].replace("def load(", f"def load_{format}(") for format in formats())
    code = LOOP.format(loaders=loaders)
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=tmp_path, env=environment)
    found = np.load(paths[-1])
    assert set(found) == set(expected) and expected
    for name, tokens in expected.items():
        np.testing.assert_array_equal(found[name], tokens, err_msg=name)
    content = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(str(pathlib.Path(kd.__file__).parent).encode() in part for part in content)


@ON_TORCH
@pytest.mark.parametrize("rows", [None, ROWS])
def test_a_program_of_blocks(rows, tmp_path):
    """Where a block begins is a tensor, by which its positions turn."""
    import torch

    denoiser = randomise(kd.BlockDenoiser(40, block_size=2, hidden_dim=16, num_layers=1, num_heads=2))
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(40), length=6)
    path = str(tmp_path / "blocks.pt2")
    model.export(path, steps=1, batch=rows)
    inputs = [i["name"] for i in json.loads((tmp_path / "blocks.pt2.json").read_text())["inputs"]]
    n = rows or ROWS + 1
    known = np.zeros((n, 6), bool)
    known[:, 1] = True
    x = {"known": known, "given": np.full((n, 6), 2, "int32")}
    x |= {"seeds": np.full(n, 7, "int32"), "rows": np.arange(n, dtype="int32")}
    found = torch.export.load(path).module()(*(torch.as_tensor(x[name]) for name in inputs))
    expected = model.generate(n, steps=1, seed=7, prompts=x["given"], known=known, verbose=0)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_what_takes_no_quantized_model_says_so(tmp_path):
    small = quantized()
    for format in set(WRITERS) & set(WITH_INTEGERS):
        with pytest.raises(ValueError, match=f"not written as '{format}'.*weights=\"int8\""):
            small.export(tmp_path / "file", format=format, kind="prior")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("litert" not in WRITERS, reason="TensorFlow writes it")
def test_what_litert_has_no_operation_for_is_named(tmp_path):
    import tensorflow as tf

    def masked(z):
        return tf.bitwise.bitwise_and(z, 3)

    z = Input("z", "int32", (2,), "")
    with pytest.raises(ValueError, match='LiteRT has no BitwiseAnd, .* format="saved_model"'):
        WRITERS["litert"](masked, [z], "tokens", [], str(tmp_path / "x.tflite"), None)
    assert list(tmp_path.iterdir()) == []


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


def test_a_call_for_each_token_where_a_sampler_needs_them(tmp_path):
    model = tiny_model()
    model.steps = 2
    path = written(tmp_path, model, kind="prior", sampler="first_hitting")
    with open(path + ".json") as file:
        assert len(json.load(file)["times"]) == 1 + 5


def test_a_path_says_the_format(tmp_path):
    with pytest.raises(ValueError, match="ends as a file of format 'onnx' does"):
        small_model().export(tmp_path / "x.onnx", format=FORMAT)
    with pytest.raises(ValueError, match=r"must end in .onnx, .pt2, .stablehlo or .tflite"):
        small_model().export(tmp_path / "x.h5")


@pytest.mark.plain
def test_a_folder_of_other_things_is_left_alone(tmp_path):
    """A SavedModel takes the place of one that `export` wrote, and of nothing else."""
    path = tmp_path / "m"
    path.mkdir()
    check_place(str(path), "saved_model")
    (path / "saved_model.pb").write_text("of another program")
    with pytest.raises(ValueError, match="no SavedModel of `export`"):
        check_place(str(path), "saved_model")
    (tmp_path / "m.json").write_text("{}")
    check_place(str(path), "saved_model")
    (path / "thesis.txt").write_text("a year's work")
    with pytest.raises(ValueError, match="is not empty"):
        check_place(str(path), "saved_model")
    with pytest.raises(OSError, match="is a folder"):
        check_place(str(path), "onnx")
    with pytest.raises(ValueError, match="is a file"):
        check_place(str(tmp_path / "m.json"), "saved_model")


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
