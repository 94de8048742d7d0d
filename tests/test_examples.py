import gzip
import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import keras
import nbclient
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from packaging.requirements import Requirement

import keras_dmmd as kd
from examples import make_notebooks
from tests.builders import ON_TORCH

EXAMPLES = pathlib.Path(make_notebooks.__file__).parent
pytestmark = pytest.mark.slow


def run_example(name, folder, **settings):
    """Run a notebook as a notebook, small; returns its report, where it writes one."""
    common = {"FOLDER": str(folder), "KERAS_MAX_STEPS_PER_EPOCH": "2"}
    # As where a user opens it: nothing here chooses how figures are drawn.
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"} | common | settings
    book = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3").execute(env=environment)
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Parse Error" not in printed and not re.search(r"\bnan\b", printed)
    report = folder / f"{name}.json"
    return json.loads(report.read_text()) if report.exists() else None


@pytest.mark.parametrize("path", make_notebooks.percent_scripts(), ids=lambda path: path.stem)
def test_notebook_is_the_script(path):
    """`make notebooks` after every change of a script."""
    made = make_notebooks.notebook(path.stem, path.read_text())
    assert path.with_suffix(".ipynb").read_text() == made


@pytest.mark.plain
@pytest.mark.parametrize("path", make_notebooks.percent_scripts(), ids=lambda path: path.stem)
def test_notebook_installs_what_it_needs(path, monkeypatch):
    """The first cell of code, where the library is not there: of extras and an address that exist."""
    settings = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["project"]
    badges, install, *_ = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells
    opened = f"keras-dmmd/keras_dmmd/blob/main/examples/{path.stem}.ipynb"
    assert badges["source"].count(opened) == 2
    shell, asked = InteractiveShell(), []
    shell.register_magic_function(asked.append, magic_name="pip")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for source in (None, "file:///wheels/keras_dmmd-0.1.0-py3-none-any.whl"):
        monkeypatch.delenv("KERAS_DMMD", raising=False)
        if source:
            monkeypatch.setenv("KERAS_DMMD", source)
        shell.run_cell(install["source"]).raise_error()
    installs = [shlex.split(line)[-1] for line in asked if "--no-deps" not in line]
    first, second = map(Requirement, installs)
    assert first.name == second.name == settings["name"]
    assert first.extras <= set(settings["optional-dependencies"])
    assert first.url == "git+" + settings["urls"]["Repository"] and second.url == source
    asked.clear()
    monkeypatch.undo()
    shell.run_cell(install["source"]).raise_error()
    assert asked == []  # where it is there already


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the script goes on below, on Torch")
def test_digits(tmp_path):
    """The whole example, small: 2 rounds; 32 samples, as in its picture, so one shape is compiled."""
    # Two rounds are not worth what XLA on TensorFlow takes to optimize them.
    hurry = " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    settings = {
        "ROUNDS": "2",
        "SAMPLES": "32",
        "SEEDS": "1",
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + hurry,
    }
    report = run_example("digits", tmp_path, **settings)
    assert set(report["frechet"]) == {"student", "shipped student", "teacher"}
    assert set(report["frechet"]["teacher"]) == {"4", "8", "16", "64"}
    assert (tmp_path / "digits.png").stat().st_size > 10_000
    assert (tmp_path / "student" / "weights.npz").exists()


@ON_TORCH
def test_digits_goes_on_from_a_student(tmp_path):
    """The script itself, as `python examples/digits.py`, from the student that ships."""
    settings = {
        "PROCESS": "uniform",
        "STUDENT": "digits_uniform_student",
        "OPTIONS": '{"renoise": "posterior"}',
        "TRAINING_SEED": "1",
        "LEARNING_RATE": "0",
        "ROUNDS": "2",
        "SAMPLES": "32",
        "SEEDS": "2",
        "FOLDER": str(tmp_path),
        "KERAS_MAX_STEPS_PER_EPOCH": "2",
    }
    script = EXAMPLES / "digits.py"
    subprocess.run([sys.executable, script], check=True, env={**os.environ, **settings})
    report = json.loads((tmp_path / "digits.json").read_text())
    assert report["options"] == {"renoise": "posterior"}
    assert report["training_seed"] == 1
    # At a rate of 0 it is still the student that it went on from.
    before = kd.from_preset("digits_uniform_student").generate(32, steps=8, seed=0)
    after = kd.from_preset(str(tmp_path / "student")).generate(32, steps=8, seed=0)
    assert (before == after).all()


@ON_TORCH
def test_characters(tmp_path):
    try:
        kd.datasets.load_sotu()
    except FileNotFoundError:
        pytest.skip("the State of the Union addresses are not here")
    settings = {"ROUNDS": "20", "STEPS": "4", "SAMPLES": "4", "CALLS": "2,4", "BATCH_SIZE": "4"}
    report = run_example("characters", tmp_path, **settings)
    assert set(report["scores"]["teacher"]) == {"2", "4"}
    assert report["teacher_bits_a_character_held_out"] < 2.7
    assert (tmp_path / "characters.png").stat().st_size > 5_000
    assert kd.from_preset(str(tmp_path / "student")).steps == 4


@ON_TORCH
def test_molecules(tmp_path):
    """With ethers and amines of one's own in place of MOSES."""
    molecules = [f"{'C' * i}{x}{'C' * j}" for i in range(1, 9) for x in "ONS" for j in range(1, 9)]
    for part in ("train", "test", "test_scaffolds"):
        with gzip.open(tmp_path / f"{part}.csv.gz", "wt") as file:
            file.write("\n".join(["SMILES", *molecules]) + "\n")
    settings = {"ROUNDS": "4", "STEPS": "4", "SAMPLES": "24", "CALLS": "16,32", "BATCH_SIZE": "4"}
    report = run_example("molecules", tmp_path, MOSES=str(tmp_path), **settings)
    scores = report["scores"]
    assert set(scores["teacher"]) == set(scores["student"]) == {"16", "32"}  # with fewer none is valid
    assert scores["real"]["validity"] == [1.0, 0.0]
    assert scores["real"]["novelty"] == [0.0, 0.0]
    assert 0 < scores["student"]["32"]["validity"][0] <= 1
    for picture in ("molecules.png", "drawn.png"):
        assert (tmp_path / picture).stat().st_size > 5_000
    assert kd.from_preset(str(tmp_path / "student")).steps == 4


@ON_TORCH
def test_number_of_steps(tmp_path):
    settings = {"SETS": "digits", "CALLS": "1,2", "SAMPLES": "252", "SEEDS": "1"}
    run_example("number_of_steps", tmp_path, **settings)
    report = kd.evaluation.Report.load(tmp_path / "digits")
    distances = {(row["model"], row["steps"]): row["frechet_distance"] for row in report.rows}
    assert len(distances) == 8
    assert distances["masked student", 2] < distances["masked teacher", 2]
    assert (tmp_path / "number_of_steps.png").stat().st_size > 5_000
    assert (tmp_path / "digits" / "report.html").exists()


@ON_TORCH
def test_hub_teacher(tmp_path):
    """With a small BERT of random weights, as a folder, and a text of one's own."""
    models = pytest.importorskip("keras_hub").models
    pytest.importorskip("tensorflow_text")
    text = "the state of the union is strong and the people of the union are free . " * 24
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(text.split()))]
    backbone = models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    )
    preprocessor = models.BertTextClassifierPreprocessor(models.BertTokenizer(words))
    folder = tmp_path / "bert"
    backbone.save_to_preset(folder)
    preprocessor.save_to_preset(folder)
    (tmp_path / "own.txt").write_text(text)
    settings = {"UPDATES": "2", "ROUNDS": "2", "STEPS": "2", "SAMPLES": "4", "LENGTH": "16"}
    report = run_example(
        "hub_teacher", tmp_path, BACKBONE=str(folder), TEXT=str(tmp_path / "own.txt"), **settings
    )
    assert report["backbone"] == "BertBackbone"
    assert 0 < report["bits_per_token_held_out"][1] < 10
    assert set(report["scores"]) == {
        "held out",
        "teacher, 2 calls",
        "teacher, 16 calls",
        "student, 2 calls",
    }
    # In a process that has not heard of KerasHub yet.
    code = (
        f"import keras_dmmd as kd; student = kd.from_preset({str(tmp_path / 'student')!r}); "
        "print(student.generate(prompts=['the people of the'], steps=2)[0])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.startswith("the people of the")


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
