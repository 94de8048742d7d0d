"""The wheel on several Pythons, with the newest and the oldest stated versions of each backend.

    python tests/wheels.py --pythons python3.11 python3.12 python3.13 --backends jax torch

Every cell is a new virtual environment that holds the wheel and one backend, in which a student is
distilled and a command runs; where that went well its versions are printed. `make wheels` does all of
it; tests/test_notebooks.py one cell, with more in it.
"""

import argparse
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[1]
BACKENDS = ("jax", "tensorflow", "torch")
CODE = """
from importlib.metadata import version

import keras
import keras_dmmd as kd

teacher = kd.from_preset("digits_masked_teacher")
distiller = kd.DMMDDistiller(teacher, steps=2)
distiller.compile()
distiller.fit(teacher.generate(16, steps=2, verbose=0), batch_size=8, verbose=0)
assert distiller.student.generate(4, steps=2, verbose=0).shape == (4, 64)
print("Keras", keras.__version__, keras.backend.backend(), version(keras.backend.backend()))
"""
WHERE = """
import importlib.util

print(*[name for name in ("jax", "tensorflow", "torch") if importlib.util.find_spec(name)])
print(importlib.util.find_spec("keras_dmmd").origin)
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


def project():
    """What pyproject.toml says of the package, a dict."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def stated(*extras):
    """What the library needs, and what its extras do, as pyproject.toml states it."""
    optional = project()["optional-dependencies"]
    return [*project()["dependencies"], *(line for extra in extras for line in optional[extra])]


def needed(requirements):
    """Of the distributions that are installed here, those that requirements ask for, themselves or by
    what they need in turn: what `pip install` would bring."""
    found, seen = {}, set()
    waiting = [(line, ("",)) for line in requirements]
    while waiting:
        line, extras = waiting.pop()
        asked = Requirement(line)
        name = canonicalize_name(asked.name)
        if asked.marker and not any(asked.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # pip finds it elsewhere
        found[name] = distribution
        wanted = ("", *asked.extras)
        if (name, wanted) not in seen:
            seen.add((name, wanted))
            waiting += [(line, wanted) for line in distribution.requires or ()]
    return list(found.values())


def link(requirements, place):
    """Into the virtual environment `place`, by hard links, what requirements need of what is here."""
    packages = sysconfig.get_path("purelib", "venv", vars={"base": str(place)})
    for distribution in needed(requirements):
        for file in distribution.files:
            if ".." not in file.parts:  # scripts are, which name this environment's Python
                source, target = distribution.locate_file(file), pathlib.Path(packages, file)
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except FileNotFoundError:
                    pass  # compiled before, and removed
                except OSError:  # another disk
                    shutil.copy2(source, target)


def oldest(backend, python):
    """Requirements that pin the least versions that pyproject.toml states for a Python such as "3.12":
    of Keras and of a backend."""
    pins = []
    for line in stated(backend):
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate({"python_version": python}):
            (least,) = (spec.version for spec in asked.specifier if spec.operator == ">=")
            whole = least if least.count(".") > 1 else f"{least}.*"
            pins += [f"{asked.name}=={whole}"] if asked.name != "numpy" else []
    return pins


def version_of(python):
    """Of an interpreter, such as "3.12"."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def runner(place, backend):
    """A function that runs a program of the virtual environment `place` there; what it printed.

    It raises `subprocess.CalledProcessError`, whose `stderr` says what was wrong.
    """
    bin_folder = place / ("Scripts" if os.name == "nt" else "bin")
    env = {**os.environ, "PYTHONPATH": "", "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    env |= {"KERAS_HOME": str(place / "keras")}
    options = {"check": True, "capture_output": True, "text": True, "cwd": place, "env": env}

    def run(program, *arguments):
        command = [str(part) for part in (bin_folder / program, *arguments)]
        return subprocess.run(command, **options).stdout

    return run


def check_commands(place, backend):
    """The command runs in an environment that has one backend, and the library from nowhere else."""
    run = runner(place, backend)
    assert "keras-dmmd train" in run("keras-dmmd", "--help")
    assert "MaskedDiffusion" in run("keras-dmmd", "info", "digits_masked_student")
    backends, file = run("python", "-c", WHERE).splitlines()
    assert backends == backend, backends
    assert pathlib.Path(file).is_relative_to(place), file


def try_wheel(wheel, python, backend, place, pins=()):
    """Install the wheel for a backend in a new environment and use it; what the code printed.

    Raises:
        subprocess.CalledProcessError: something of it failed; `stderr` says what.
    """
    subprocess.run([python, "-m", "venv", place], check=True, capture_output=True)
    run = runner(place, backend)
    run("python", "-m", "pip", "install", "-q", f"{wheel}[{backend}]", *pins)
    check_commands(place, backend)
    return run("python", "-c", CODE).strip()


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
                        least = oldest(backend, version_of(python))
                        pins = least if versions == "oldest" else ()
                        try:
                            said = try_wheel(wheel, python, backend, pathlib.Path(place, "venv"), pins)
                        except subprocess.CalledProcessError as error:
                            failed += 1
                            lines = [*(error.stderr or "").strip().splitlines(), "no message"]
                            said = "failed: " + next(x for x in reversed(lines[:-1] or lines) if x)
                        print(python, backend, versions, said, sep="  ", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
