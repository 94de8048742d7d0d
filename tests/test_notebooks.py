"""Notebooks say what their scripts say, and run, small, where their first cell has installed it all."""

import gzip
import importlib.util
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import nbclient
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from packaging.requirements import Requirement

import keras_dmmd as kd
from examples import make_notebooks
from tests import wheels

ROOT = pathlib.Path(make_notebooks.__file__).parents[1]
EXAMPLES = ROOT / "examples"
pytestmark = [pytest.mark.plain, pytest.mark.slow]
every_script = pytest.mark.parametrize(
    "path", make_notebooks.percent_scripts(), ids=lambda path: path.stem
)
# Nothing of this checkout may be found by its path. The backend is Torch, where nothing is compiled
# before it runs; `proteins` has what its first cell chooses, JAX.
ON = {"torch": {"PYTHONPATH": "", "KERAS_BACKEND": "torch"}, "jax": {"PYTHONPATH": ""}}
BY_DEFAULT = {"proteins"}


@every_script
def test_notebook_is_the_script(path):
    """`make notebooks` after every change of a script."""
    made = make_notebooks.notebook(path.stem, path.read_text())
    assert path.with_suffix(".ipynb").read_text() == made


@every_script
def test_notebook_teaches(path):
    """It says where it runs, on what, draws pictures, explains, and ends with exercises, answered."""
    cells = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells
    badges, _, title, *_ = (cell["source"] for cell in cells)
    assert badges.count("colab.research.google.com/github/") == badges.count("kaggle.com/kernels/") == 1
    pictures = rf"!\[[^]]+\]\({make_notebooks.REPOSITORY}/raw/main/(docs/[\w/]+\.png)\)"
    found = re.findall(pictures, title)  # which are seen before anything has run
    assert len(found) == 1
    metadata = nbformat.read(path.with_suffix(".ipynb"), as_version=4).metadata
    assert (metadata.accelerator, metadata.colab.gpuType) == ("GPU", "T4")
    assert metadata.kernelspec.name == "python3"
    assert all(10_000 < (ROOT / picture).stat().st_size < 200_000 for picture in found)
    assert title.startswith("# ") and "**Where it runs.**" in title and "**Data.**" in title
    assert "T4" in title and "minutes" in title and "KERAS_BACKEND" in title
    explained = [cell for cell in cells if cell["cell_type"] == "markdown"]
    assert len(explained) >= 5 and any("savefig" in cell["source"] for cell in cells)
    exercises, _, answers = explained[-1]["source"].partition("<details><summary>Answers</summary>")
    numbers = [re.findall(r"^(\d)\. ", part, flags=re.M) for part in (exercises, answers)]
    assert exercises.startswith("## Exercises") and numbers[0] == numbers[1] == ["1", "2", "3"]


@every_script
def test_first_cell_asks_for_what_there_is(path, monkeypatch):
    """Extras and an address that exist, or a wheel's; nothing where the library is there already."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    badges, install, *_ = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells
    opened = f"keras-dmmd/keras_dmmd/blob/main/examples/{path.stem}.ipynb"
    assert badges["source"].count(opened) == 2
    shell, asked = InteractiveShell(), []
    shell.register_magic_function(asked.append, magic_name="pip")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    for source in (None, "file:///wheels/keras_dmmd-0.1.0-py3-none-any.whl"):
        monkeypatch.delenv("KERAS_DMMD", raising=False)
        if source:
            monkeypatch.setenv("KERAS_DMMD", source)
        shell.run_cell(install["source"]).raise_error()
    installs = [shlex.split(line)[-1] for line in asked if "keras-dmmd" in line]
    first, second = map(Requirement, installs)
    assert first.name == second.name == settings["name"]
    assert "jax" in first.extras <= set(settings["optional-dependencies"])
    assert first.url == "git+" + settings["urls"]["Repository"] and second.url == source
    asked.clear()
    monkeypatch.undo()
    shell.run_cell(install["source"]).raise_error()
    assert asked == []


class Room:
    """An environment with a notebook's kernel, and with what its first cell's requirement asks for.

    That is linked from the environment of the tests, so that the cell's `pip install` finds it and has
    less to do: what it leaves is the same. The library itself is not there, and the cell installs it.

    Args:
        folder: where it is made.
        backend: the one that it has, of `ON`.
        extras: those that the cell asks for.
    """

    def __init__(self, folder, backend, extras):
        self.folder = folder
        # As where a user opens it: nothing here chooses the backend, or how figures are drawn.
        chosen = ("MPLBACKEND", "KERAS_BACKEND")
        self.environment = {k: v for k, v in os.environ.items() if k not in chosen} | ON[backend]
        self.python = folder / "venv" / "bin" / "python"
        create = [sys.executable, "-m", "venv", "--without-pip", folder / "venv"]
        subprocess.run(create, check=True)
        wheels.link(("pip", "ipykernel", *wheels.stated(backend, *extras.split(","))), folder / "venv")
        argv = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        kernel = folder / "kernels" / "room"
        kernel.mkdir(parents=True)
        spec = {"argv": argv, "display_name": "room", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))

    def run(self, name, place, **settings):
        """Run a notebook, small, with a folder for what it writes; its report, where it writes one."""
        environment = {
            **self.environment,
            "KERAS_MAX_STEPS_PER_EPOCH": "2",
            "FOLDER": str(place),
            **settings,
        }
        book = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
        there = {"metadata": {"path": str(self.folder)}}
        client = nbclient.NotebookClient(book, timeout=600, kernel_name="room", resources=there)
        client.execute(env=environment)
        outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
        printed = "".join(output.get("text", "") for output in outputs)
        assert "Parse Error" not in printed and not re.search(r"\bnan\b", printed)
        report = place / f"{name}.json"
        return json.loads(report.read_text()) if report.exists() else None


def write_speeches(folder):
    """233 of them, where the package of npm would be."""
    folder = folder / "node_modules" / "@stdlib" / "datasets-sotu" / "data"
    folder.mkdir(parents=True)
    sentences = ("the state of the union is strong ", "we the people of the united states ")
    for i in range(233):
        (folder / f"{1790 + i}.txt").write_text((sentences[i % 2] + sentences[i // 2 % 2]) * 6)


def characters(room, place):
    write_speeches(room.folder)
    settings = {"ROUNDS": "20", "STEPS": "4", "SAMPLES": "4", "CALLS": "4", "BATCH_SIZE": "4"}
    report = room.run("characters", place, **settings)
    assert set(report["scores"]["teacher"]) == {"4"}
    assert report["teacher_bits_a_character_held_out"] < 2.7
    assert (place / "characters.png").stat().st_size > 5_000
    assert kd.from_preset(str(place / "student")).steps == 4


def digits(room, place):
    """2 rounds; 32 samples, as in its picture, so that one shape is compiled."""
    report = room.run("digits", place, ROUNDS="2", SAMPLES="32", SEEDS="1")
    assert set(report["frechet"]) == {"student", "shipped student", "teacher"}
    assert set(report["frechet"]["teacher"]) == {"4", "8", "16", "64"}
    assert (place / "digits.png").stat().st_size > 10_000
    assert (place / "student" / "weights.npz").exists()


def number_of_steps(room, place):
    settings = {"SETS": "digits", "CALLS": "1,2", "SAMPLES": "128", "SEEDS": "1"}
    room.run("number_of_steps", place, **settings)
    report = kd.evaluation.Report.load(place / "digits")
    distances = {(row["model"], row["steps"]): row["frechet_distance"] for row in report.rows}
    assert len(distances) == 8
    assert distances["masked student", 2] < distances["masked teacher", 2]
    assert (place / "number_of_steps.png").stat().st_size > 5_000
    assert (place / "digits" / "report.html").exists()


def molecules(room, place):
    """With ethers and amines of one's own in place of MOSES."""
    strings = [f"{'C' * i}{x}{'C' * j}" for i in range(1, 5) for x in "ONS" for j in range(1, 5)]
    for part in ("train", "test", "test_scaffolds"):
        with gzip.open(place / f"{part}.csv.gz", "wt") as file:
            file.write("\n".join(["SMILES", *strings]) + "\n")
    settings = {"ROUNDS": "4", "STEPS": "8", "SAMPLES": "16", "CALLS": "32", "BATCH_SIZE": "4"}
    report = room.run("molecules", place, MOSES=str(place), **settings)
    scores = report["scores"]
    assert set(scores["teacher"]) == set(scores["student"]) == {"32"}  # with fewer few are valid
    assert scores["real"]["validity"] == [1.0, 0.0]
    assert scores["real"]["novelty"] == [0.0, 0.0]
    assert 0 < scores["student"]["32"]["validity"][0] <= 1
    for picture in ("molecules.png", "drawn.png"):
        assert (place / picture).stat().st_size > 5_000
    assert kd.from_preset(str(place / "student")).steps == 8


def hub_teacher(room, place):
    """With a small BERT of random weights, as a folder, and a text of one's own."""
    models = pytest.importorskip("keras_hub").models
    text = "the state of the union is strong and the people of the union are free . " * 24
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(text.split()))]
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    backbone = models.BertBackbone(len(words), max_sequence_length=32, **sizes)
    preprocessor = models.BertTextClassifierPreprocessor(models.BertTokenizer(words))
    for part in (backbone, preprocessor):
        part.save_to_preset(place / "bert")
    (place / "own.txt").write_text(text)
    settings = {"UPDATES": "2", "ROUNDS": "2", "STEPS": "2", "SAMPLES": "4", "LENGTH": "16"}
    settings |= {"BACKBONE": str(place / "bert"), "TEXT": str(place / "own.txt")}
    report = room.run("hub_teacher", place, **settings)
    assert report["backbone"] == "BertBackbone"
    assert (place / "hub_teacher.png").stat().st_size > 5_000
    assert 0 < report["bits_per_token_held_out"][1] < 10
    calls = {"held out", "teacher, 2 calls", "teacher, 16 calls", "student, 2 calls"}
    assert set(report["scores"]) == calls
    # In a process that has not heard of KerasHub yet.
    code = (
        f"import keras_dmmd as kd; student = kd.from_preset({str(place / 'student')!r}); "
        "print(student.generate(prompts=['the people of the'], steps=2)[0])"
    )
    printed = subprocess.run(
        [room.python, "-c", code], capture_output=True, text=True, check=True, env=room.environment
    )
    assert printed.stdout.startswith("the people of the")


def proteins(room, place):
    """On JAX: its student of two rounds, and what OLGA says of eight of its loops."""
    settings = {"ROUNDS": "2", "STEPS": "2", "SAMPLES": "4", "CALLS": "2", "LOOPS": "200"}
    report = room.run("proteins", place, BATCH_SIZE="8", STUDENT="proteins_student", **settings)
    assert report["backend"] == "jax"
    scores = report["scores"]
    assert scores["real"]["possible"] == [1.0, 0.0] and 20 < scores["real"]["bits"][0] < 50
    assert scores["student"]["2"]["possible"][0] > scores["teacher"]["2"]["possible"][0]
    assert (place / "proteins.png").stat().st_size > 5_000


def test_notebooks_run_where_their_first_cell_installs(tmp_path, monkeypatch):
    """None has the library to begin with; `pip install` takes the wheel of this checkout.

    Notebooks whose first cells install the same share an environment, which the first of them fills.
    """
    wheel = wheels.build(tmp_path)
    monkeypatch.setenv("KERAS_DMMD", wheel.as_uri())
    monkeypatch.setenv("PIP_CONSTRAINT", str(ROOT / "constraints.txt"))
    monkeypatch.setenv("PIP_NO_COMPILE", "1")  # what is imported is compiled then
    rooms = {}
    checks = (digits, characters, number_of_steps, molecules, hub_teacher, proteins)
    assert {check.__name__ for check in checks} == set(make_notebooks.NEEDS)
    for check in checks:
        needs = make_notebooks.NEEDS[check.__name__]
        place = tmp_path / check.__name__
        place.mkdir()
        if needs not in rooms:
            backend = "jax" if check.__name__ in BY_DEFAULT else "torch"
            rooms[needs] = Room(tmp_path / f"room_{len(rooms)}", backend, needs[0])
        monkeypatch.setenv("JUPYTER_PATH", str(rooms[needs].folder))
        check(rooms[needs], place)
    wheels.check_commands(rooms["examples", ""].folder / "venv", "torch")
    for room in rooms.values():  # gigabytes, which pytest would keep
        shutil.rmtree(room.folder)
