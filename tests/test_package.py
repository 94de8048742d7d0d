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


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the quickest backend to install")
def test_wheel_installs_alone_and_distils(tmp_path):
    """In an empty environment, on one backend, without the other two and without this checkout."""
    wheel = wheels.build(tmp_path)
    pins = ["-c", ROOT / "constraints.txt"]
    printed = wheels.try_wheel(wheel, sys.executable, "jax", tmp_path, pins)
    assert printed.startswith(f"(4, 64) ['jax'] {tmp_path}")
