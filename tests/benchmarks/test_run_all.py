"""The table of all benchmarks is what their result files say."""

import json
import pathlib

import pytest

from benchmarks import run_all

pytestmark = pytest.mark.plain


def test_a_cell_is_what_a_file_says(tmp_path):
    row = {"what": "generate, 8 steps / 8 forward passes", "ratio": 1.014, "ratio_min": 0.9}
    content = {"results": [{"what": "other"}, {**row, "ratio_max": 1.2}]}
    (tmp_path / "speed_jax.json").write_text(json.dumps(content))
    plans = [{"update": "teacher", "variant": "tiles, remat", "tables": 0.8, "MiB": 10.0}]
    (tmp_path / "vocabulary_remat_jax.json").write_text(json.dumps({"results": {"plans": plans}}))
    figures = {figure.name + figure.unit: figure for figure in reversed(run_all.FIGURES)}
    assert run_all.cell(figures["speed"], "jax", tmp_path) == "1.01 (0.90, 1.20)"
    assert run_all.cell(figures["speed"], "torch", tmp_path) == ""
    assert run_all.cell(figures["vocabulary_remattables"], "jax", tmp_path) == "0.80 tables"


def test_the_page_holds_the_table_and_keeps_the_rest(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{run_all.BEGIN}\nold\n{run_all.END}\nafter\n")
    run_all.update(page, ["| a |"])
    assert page.read_text() == f"before\n{run_all.BEGIN}\n\n| a |\n\n{run_all.END}\nafter\n"


def test_the_page_that_is_there_is_up_to_date():
    text = pathlib.Path(run_all.PAGE).read_text()
    assert "\n".join(run_all.table()) in text


def test_every_run_is_of_a_module_that_is_there():
    root = pathlib.Path(run_all.ROOT)
    for _, module, _, backends in run_all.RUNS:
        name = module if module.endswith(".py") else module.replace(".", "/") + ".py"
        assert (root / name).exists() and set(backends) <= set(run_all.BACKENDS)
