import json
import os
import pathlib
import subprocess
import sys

import keras
import nbclient
import nbformat
import pytest

from examples import make_notebooks

EXAMPLES = pathlib.Path(make_notebooks.__file__).parent


@pytest.mark.parametrize("path", make_notebooks.percent_scripts(), ids=lambda path: path.stem)
def test_notebook_is_the_script(path):
    """`make notebooks` after every change of a script."""
    assert path.with_suffix(".ipynb").read_text() == make_notebooks.notebook(path.read_text())


def test_digits_notebook_runs(tmp_path, monkeypatch):
    """The whole example, small: 2 rounds, 40 samples."""
    for name, value in {
        "ROUNDS": "2",
        "SAMPLES": "40",
        "SEEDS": "2",
        "FOLDER": str(tmp_path),
        "KERAS_BACKEND": keras.backend.backend(),
        "KERAS_MAX_STEPS_PER_EPOCH": "2",
    }.items():
        monkeypatch.setenv(name, value)
    book = nbformat.read(EXAMPLES / "digits.ipynb", as_version=4)
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3").execute()
    report = json.loads((tmp_path / "digits.json").read_text())
    assert set(report["frechet"]) == {"student", "shipped student", "teacher"}
    assert set(report["frechet"]["teacher"]) == {"4", "8", "16", "64"}
    assert (tmp_path / "digits.png").stat().st_size > 10_000
    assert (tmp_path / "student" / "weights.npz").exists()


@pytest.mark.parametrize("process", ["masked", "uniform"])
def test_training_script(process, tmp_path):
    environment = {**os.environ, "KERAS_MAX_STEPS_PER_EPOCH": "2"}
    script = EXAMPLES / "train_digits_teacher.py"
    arguments = ["--process", process, "--epochs", "1", "--out", str(tmp_path)]
    subprocess.run([sys.executable, script, *arguments], check=True, env=environment)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["process"] == process
    assert (tmp_path / "training.csv").read_text().startswith("epoch,loss")
