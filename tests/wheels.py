"""The wheel on several Pythons, with the newest and the oldest stated versions of each backend.

    python tests/wheels.py --pythons python3.11 python3.12 python3.13 --backends jax torch

Every cell is a new virtual environment that holds the wheel and one backend, in which a student is
distilled and a command runs. `make wheels` does all of it; the tests of the repository do one cell.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
BACKENDS = ("jax", "tensorflow", "torch")
CODE = """
import importlib.util
import keras
import keras_dmmd as kd

teacher = kd.from_preset("digits_masked_teacher")
distiller = kd.DMMDDistiller(teacher, steps=2)
distiller.compile()
distiller.fit(teacher.generate(16, steps=2, verbose=0), batch_size=8, verbose=0)
images = distiller.student.generate(4, steps=2, verbose=0)
others = [name for name in ("jax", "tensorflow", "torch") if importlib.util.find_spec(name)]
print(images.shape, others, kd.__file__)
"""


def build(folder):
    """The wheel of this checkout, in a folder."""
    # From a copy: what an earlier build has left would go into it, and two may be built at once.
    with tempfile.TemporaryDirectory() as copy:
        for name in ("keras_dmmd", "keras_dmmd_command"):
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, pathlib.Path(copy, name), ignore=without)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        command = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, copy]
        subprocess.run(command, check=True, capture_output=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    return wheel


def oldest(backend):
    """Requirements that pin the least versions that pyproject.toml states: Keras and a backend."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"][backend]]
    pins = [re.sub(">=", "==", line) for line in stated if not line.startswith("numpy")]
    return [pin if pin.count(".") > 1 else pin + ".*" for pin in pins]


def try_wheel(wheel, python, backend, folder, pins=()):
    """Install the wheel for a backend in a new environment and use it; what the code printed.

    Raises:
        subprocess.CalledProcessError: something of it failed; `stderr` says what.
    """
    place = pathlib.Path(folder) / "venv"
    bin_folder = place / ("Scripts" if os.name == "nt" else "bin")
    env = {**os.environ, "PYTHONPATH": "", "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    env |= {"KERAS_HOME": str(place / "keras")}

    def run(*command):
        options = {"check": True, "capture_output": True, "text": True, "cwd": folder, "env": env}
        return subprocess.run([str(part) for part in command], **options).stdout

    run(python, "-m", "venv", place)
    run(bin_folder / "python", "-m", "pip", "install", "-q", f"{wheel}[{backend}]", *pins)
    assert "keras-dmmd train" in run(bin_folder / "keras-dmmd", "--help")
    run(bin_folder / "keras-dmmd", "info", "digits_masked_student")
    return run(bin_folder / "python", "-c", CODE)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=[f"python3.{minor}" for minor in (11, 12, 13)])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--versions", nargs="+", choices=("newest", "oldest"), default=["newest"])
    args = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(folder)
        for python in args.pythons:
            for backend in args.backends:
                for versions in args.versions:
                    with tempfile.TemporaryDirectory() as place:
                        pins = oldest(backend) if versions == "oldest" else ()
                        try:
                            said = try_wheel(wheel, python, backend, place, pins).split(" /")[0]
                        except subprocess.CalledProcessError as error:
                            failed += 1
                            lines = [*(error.stderr or "").strip().splitlines(), "no message"]
                            said = "failed: " + next(x for x in reversed(lines[:-1] or lines) if x)
                        print(python, backend, versions, said, sep="  ", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
