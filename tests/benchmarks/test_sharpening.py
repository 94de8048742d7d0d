"""The sweep of sharper teachers, small: 233 short speeches of one's own, two settings."""

import json
import pathlib

import keras
import pytest

from benchmarks import sharpening

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiles twice for a minute"),
]


def test_sweep(tmp_path, monkeypatch):
    speeches = tmp_path / "speeches"
    speeches.mkdir()
    for i in range(233):
        (speeches / f"{i:03}.txt").write_text("Fellow citizens of the Senate and the House. " * 4)
    arguments = [
        "--path",
        str(speeches),
        "--folder",
        str(tmp_path / "runs"),
        "--results",
        str(tmp_path),
    ]
    arguments += ["--rounds", "2", "--batch-size", "2", "--samples", "4", "--teacher-calls", "2"]
    arguments += ["--settings", "plain", "top-p 0.8"]
    path = sharpening.main(arguments)
    rows = json.loads(pathlib.Path(path).read_text())["results"]
    assert [(row["setting"], row["who"], row["calls"]) for row in rows] == [
        ("plain", "student", 8),
        ("plain", "teacher", 2),
        ("top-p 0.8", "student", 8),
        ("top-p 0.8", "teacher", 2),
    ]
    assert rows[3]["entropy"][0] < rows[1]["entropy"][0]
    # What is done is not done again.
    monkeypatch.setattr(sharpening, "distil", None)
    assert json.loads(pathlib.Path(sharpening.main(arguments)).read_text())["results"] == rows
    with pytest.raises(ValueError, match="other arguments"):
        sharpening.main([*arguments, "--samples", "5"])
