import subprocess
import sys

import keras

import keras_dmmd as kd


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
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


def test_version_is_one():
    assert run("from keras_dmmd.version import __version__ as v; print(v)") == [kd.__version__]


def test_public_names_have_docstrings():
    public = [getattr(kd, name) for name in dir(kd) if name[0].isupper()]
    assert len(public) >= 6
    assert all(thing.__doc__ and len(thing.__doc__) > 40 for thing in public)
