import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from benchmarks import quickstart
from examples import make_notebooks
from tests.builders import ON_TORCH

EXAMPLES = pathlib.Path(make_notebooks.__file__).parent
pytestmark = pytest.mark.slow


@ON_TORCH
def test_digits_goes_on_from_a_student(tmp_path, monkeypatch):
    """The script itself, as `benchmarks/quickstart.py` runs it, from the student that ships."""
    settings = {
        "STUDENT": "digits_uniform_student",
        "OPTIONS": '{"renoise": "posterior"}',
        "LEARNING_RATE": "0",
        "ROUNDS": "2",
        "SAMPLES": "32",
        "SEEDS": "2",
        "KERAS_MAX_STEPS_PER_EPOCH": "2",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    arguments = ["--process", "uniform", "--runs", "1", "--first", "1"]
    arguments += ["--folder", str(tmp_path / "runs"), "--path", str(tmp_path)]
    (row,) = quickstart.main(arguments)
    place = tmp_path / "runs" / "uniform_1"
    report = json.loads((place / "digits.json").read_text())
    assert report["options"] == {"renoise": "posterior"}
    assert report["training_seed"] == 1
    assert row["teacher_16"] == report["frechet"]["teacher"]["16"][0]
    # At a rate of 0 it is still the student that it went on from.
    before = kd.from_preset("digits_uniform_student").generate(32, steps=8, seed=0)
    after = kd.from_preset(str(place / "student")).generate(32, steps=8, seed=0)
    assert (before == after).all()

    monkeypatch.setattr(quickstart, "run", None)  # nothing is run again
    assert quickstart.main(arguments) == [row]
    kept = json.loads(next(tmp_path.glob("quickstart_uniform_*.json")).read_text())
    assert kept["results"] == [row]
    assert kept["settings"]["ahead"] == (row["student_8"] < row["teacher_16"])


@ON_TORCH
@pytest.mark.parametrize("process", ["masked", "uniform"])
def test_training_script(process, tmp_path):
    if process == "uniform" and keras.backend.backend() != "jax":
        pytest.skip("the script runs on every backend with masks")
    environment = {**os.environ, "KERAS_MAX_STEPS_PER_EPOCH": "2"}
    script = EXAMPLES / "train_digits_teacher.py"
    arguments = ["--process", process, "--epochs", "1", "--out", str(tmp_path)]
    subprocess.run([sys.executable, script, *arguments], check=True, env=environment)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["process"] == process
    assert (tmp_path / "training.csv").read_text().startswith("epoch,loss")


@ON_TORCH
def test_sequences_from_teacher_to_student(tmp_path):
    """Proteins: OLGA's file, its rows kept, a teacher, a student, a further phase of the student."""
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    loops = ["C" + "".join(letters[rng.integers(0, 20, n)]) + "F" for n in rng.integers(3, 26, 12_000)]
    path, cache = tmp_path / "loops.tsv", tmp_path / "rows.npz"
    path.write_text("".join(f"TGT\t{loop}\tV\tJ\n" for loop in loops))

    def run(script, **arguments):
        given = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
        command = [sys.executable, EXAMPLES / script, "--data=proteins", f"--cache={cache}", *given]
        subprocess.run(command, check=True)
        return kd.presets.read_card(str(arguments["out"])), kd.from_preset(str(arguments["out"]))

    small = {"steps": 20, "hidden": 16, "layers": 1, "batch_size": 8}
    card, teacher = run("train_sequence_teacher.py", path=path, out=tmp_path / "teacher", **small)
    assert card["nelbo_bits_per_token"]["held_out"][0] > 0
    assert teacher.tokenizer.decode(teacher.tokenizer.encode("CASSF")) == "CASSF"
    with np.load(cache) as file:
        assert file["held_out"].shape == (10_000, 24)
        short = sum(len(loop) <= 24 for loop in loops)  # longer ones are left out
        assert file["train"].shape == (short - 10_000, 24)
    small = {"steps": 2, "rounds": 2, "batch_size": 8, "options": '{"noise": "token"}'}
    first = tmp_path / "first"
    card, student = run("train_sequence_student.py", teacher=tmp_path / "teacher", out=first, **small)
    assert student.steps == 2 and card["teacher"] == "teacher" and card["student"] is None
    small["options"] = "{}"
    card, _ = run(
        "train_sequence_student.py",
        teacher=tmp_path / "teacher",
        student=first,
        out=tmp_path / "second",
        **small,
    )
    assert card["student"]["rounds"] == 2
