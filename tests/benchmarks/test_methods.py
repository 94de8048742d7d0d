import json

import keras
import pytest

from benchmarks import across, methods, methods_page
from tests.builders import ON_TORCH


@ON_TORCH
@pytest.mark.slow
def test_tiny_run_and_its_resumption(tmp_path, monkeypatch):
    arguments = ["--sets", "coins", "--calls", "1", "2", "--seeds", "2", "--pretrain", "2"]
    arguments += ["--rounds", "2", "--batch-size", "4", "--samples", "50"]
    arguments += ["--methods", "D-MMD, as published", "SDTT", "Di[M]O", "Reinforce-DMD"]
    arguments += ["--folder", str(tmp_path / "runs"), "--path", str(tmp_path)]
    rows = methods.main(arguments)
    names = ["teacher", "D-MMD, as published", "SDTT", "Di[M]O", "Reinforce-DMD"]
    assert [row["method"] for row in rows if row["calls"] == 1] == names
    assert [row["method"] for row in rows if row["calls"] == 2] == [n for n in names if n != "Di[M]O"]
    assert all(0 <= row["total_variation"] <= 1 and 0 <= row["possible"] <= 1 for row in rows)
    (path,) = tmp_path.glob("methods_*.json")
    kept = json.loads(path.read_text())["results"]
    monkeypatch.setattr(methods, "student_of", None)  # nothing is trained again
    assert methods.main(arguments) == rows == kept

    monkeypatch.undo()
    variant = ["--variant", "bound_10", '{"max_log_ratio": 10}', "--calls", "1", "--seeds", "1"]
    assert methods.main([*arguments, *variant])[-1]["method"] == "D-MMD, bound_10"
    assert (tmp_path / f"variant_bound_10_coins_{keras.backend.backend()}.json").exists()

    rows = across.main(arguments)
    pairs = [(row["made for"], row["calls"], row["seeds"]) for row in rows]
    assert pairs == [(1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 2, 2)]
    assert (tmp_path / f"across_coins_{keras.backend.backend()}.json").exists()

    rows = across.main([*arguments, "--begun-for", "1", "--share", "0.5", "--seeds", "1"])
    assert [(row["made for"], row["calls"]) for row in rows] == [pair[:2] for pair in pairs]
    assert (tmp_path / f"across_begun_for_1_0.5_coins_{keras.backend.backend()}.json").exists()

    page, picture = tmp_path / "page.md", tmp_path / "picture.png"
    page.write_text(f"before\n{methods_page.BEGIN}\nold\n{methods_page.END}\nafter\n")
    methods.main(["--path", str(tmp_path), "--page", str(page), "--picture", str(picture)])
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after") and "old" not in lines
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][1:] == [
        f"| {name}" for name in names
    ]
    assert picture.stat().st_size > 1000
