import json

import pytest

import keras_dmmd as kd
from benchmarks import calls
from tests.builders import ON_TORCH


@ON_TORCH
@pytest.mark.slow
def test_tiny_run_and_its_resumption(tmp_path, capsys):
    arguments = ["--set", "digits", "--ranges", "1-4", "2", "--calls", "1", "2", "--rounds", "2"]
    arguments += ["--batch-size", "4", "--samples", "8", "--sampling-seeds", "1"]
    arguments += ["--folder", str(tmp_path), "--results", str(tmp_path / "results")]
    found = calls.main(arguments)
    assert "critic_loss" in capsys.readouterr().out
    assert calls.main(arguments) == found
    assert "critic_loss" not in capsys.readouterr().out
    (path,) = (tmp_path / "results").glob("calls_digits_*.json")
    rows = json.loads(path.read_text())["results"]
    models = ["teacher", "student for 1 to 4", "student for 2"]
    assert sorted({(row["model"], row["steps"]) for row in rows}) == sorted(
        (model, k) for model in models for k in (1, 2)
    )
    assert all(row["frechet_distance"] > 0 for row in rows)
    card = kd.presets.read_card(tmp_path / "digits" / "student_1-4_seed_0")
    (row,) = (r for r in rows if r["model"] == "student for 1 to 4" and r["steps"] == 2)
    assert card["scores"]["2"]["diversity_8"][0] == pytest.approx(row["diversity_8"], abs=1e-4)
    assert card["rounds"] == 2 and card["teacher"] == "digits_masked_teacher"
