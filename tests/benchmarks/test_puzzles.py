import json

import numpy as np
import pytest

from benchmarks import puzzles
from benchmarks.puzzle_tasks import TASKS, factorised
from tests.builders import ON_TORCH


@pytest.mark.plain
@pytest.mark.parametrize(
    ("name", "number"), [("permutations", 120), ("copies", 256), ("latin_4", 576), ("sudoku_4", 288)]
)
def test_all_valid_rows(name, number):
    """As many as are known, all different and valid; with one cell changed none is."""
    task = TASKS[name]()
    assert task.support.shape == (number, task.length) == np.unique(task.support, axis=0).shape
    assert task.is_valid(task.support).all()
    changed = task.support.copy()
    changed[:, 2] = (changed[:, 2] + 1) % task.vocabulary_size
    assert not task.is_valid(changed).any()


@pytest.mark.plain
@pytest.mark.parametrize("name", ["sudoku_9", "sorting"])
def test_tasks_with_prompts(name):
    task = TASKS[name]()
    rows, given = task.rows(20, np.random.default_rng(0))
    assert task.is_valid(rows).all() and (given.sum(axis=1) == given[0].sum()).all()
    row, place = 0, np.flatnonzero(~given[0])[0]
    rows[row, place] = (rows[row, place] + 1) % task.vocabulary_size
    assert task.is_valid(rows).tolist() == [False] + 19 * [True]


@pytest.mark.plain
def test_one_factorised_call():
    """Of permutations of five symbols it is `5! / 5^5`; of tokens drawn at random as many are valid."""
    task = TASKS["permutations"]()
    assert factorised(task, 1) == pytest.approx(120 / 3125) and factorised(task, 2) is None
    drawn = np.random.default_rng(0).integers(0, 5, (100_000, 5))
    assert task.is_valid(drawn).mean() == pytest.approx(120 / 3125, abs=0.002)


@ON_TORCH
@pytest.mark.slow
def test_tiny_run_and_its_resumption(tmp_path, capsys):
    arguments = [
        "--tasks",
        "permutations",
        "sorting",
        "--calls",
        "1",
        "--ranges",
        "1-2",
        "--seeds",
        "1",
    ]
    arguments += ["--updates", "2", "--rounds", "2", "--samples", "1200"]
    arguments += ["--folder", str(tmp_path / "runs"), "--path", str(tmp_path)]
    first = puzzles.main(arguments)
    (path,) = tmp_path.glob("puzzles_masked_default_*.json")
    assert json.loads(path.read_text())["results"] == json.loads(json.dumps(first))
    titles = [(line["task"], line["model"]) for line in first]
    assert titles[:2] == [("permutations", "teacher"), ("permutations", "exact teacher")]
    assert ("sorting", "student for 1-2") in titles
    assert all(0 <= line["valid"] <= 1 for line in first)
    capsys.readouterr()
    assert str(puzzles.main(arguments)) == str(first)
    assert " 0 teacher" not in capsys.readouterr().out  # nothing was measured again
