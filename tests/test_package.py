import os
import pathlib
import re
import subprocess
import sys
import venv

import keras
import pytest

import keras_dmmd as kd

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


def test_public_names_have_docstrings():
    public = [getattr(kd, name) for name in dir(kd) if name[0].isupper()]
    assert len(public) >= 6
    assert all(thing.__doc__ and len(thing.__doc__) > 40 for thing in public)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the quickest backend to install")
def test_wheel_installs_alone_and_distils(tmp_path):
    """In an empty environment, on one backend, without the other two and without this checkout."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        ROOT / "constraints.txt",
        f"{wheel}[jax]",
    ]
    subprocess.run(install, check=True)
    code = """
import importlib.util
import keras_dmmd as kd
teacher = kd.from_preset("digits_masked_teacher")
distiller = kd.DMMDDistiller(teacher, steps=2)
distiller.compile()
distiller.fit(teacher.generate(16, steps=2, verbose=0), batch_size=8, verbose=0)
images = distiller.student.generate(4, steps=2, verbose=0)
print(images.shape, [importlib.util.find_spec(name) for name in ("tensorflow", "torch")], kd.__file__)
"""
    command = [python.parent / "keras-dmmd", "--help"]
    helped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "keras-dmmd train" in helped.stdout
    printed = " ".join(run(code, python, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}))
    assert printed.startswith(f"(4, 64) [None, None] {tmp_path}")
