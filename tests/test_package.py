import pathlib
import re
import subprocess
import sys

import keras
import pytest

import keras_dmmd as kd
from tests import wheels

ROOT = pathlib.Path(__file__).parent.parent


def run(code, python=sys.executable, **kwargs):
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, **kwargs
    ).stdout.split()


def test_importing_brings_in_nothing_heavy():
    """Nor another backend, nor what only some users need."""
    others = {"jax": "tensorflow", "tensorflow": "torch", "torch": "tensorflow"}
    names = ["keras_hub", "tensorflow_datasets", "sklearn", "matplotlib"]
    names.append(others[keras.backend.backend()])
    code = (
        "import sys, keras; before = set(sys.modules); import keras_dmmd; "
        f"print(*[name for name in {names!r} if name in set(sys.modules) - before])"
    )
    assert run(code) == []


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="on Torch nothing starts on a CPU")
def test_importing_starts_no_device():
    """Who imports first may still choose devices, memory and threads."""
    code = {
        "jax": "from jax._src import xla_bridge as b; print(b.backends_are_initialized())",
        "tensorflow": (
            "import tensorflow as tf; tf.config.threading.set_intra_op_parallelism_threads(1); "
            "print(False)"
        ),
    }[keras.backend.backend()]
    assert run(f"import keras_dmmd; {code}") == ["False"]


def test_version_is_the_last_of_the_changelog():
    (first, *_) = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert kd.__version__ == first


@pytest.mark.plain
def test_least_versions_are_stated_for_every_python():
    """Of Keras and of the backend; and pages say the same."""
    page = (ROOT / "docs" / "index.md").read_text()
    for python in ("3.11", "3.12", "3.13"):
        (row,) = re.findall(rf"^\| {python} \|(.*)\|$", page, re.MULTILINE)
        pins = [wheels.oldest(backend, python) for backend in wheels.BACKENDS]
        assert all(len(pair) == 2 for pair in pins)
        least = [pin.partition("==")[2].removesuffix(".*") for _, pin in pins]
        assert [cell.strip() for cell in row.split("|")] == least
