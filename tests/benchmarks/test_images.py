"""The image benchmark runs from one command, writes its figures, and resumes."""

import importlib
import json

import keras
import numpy as np
import pytest

from tests.builders import ON_TORCH

STAGES = [
    "features",
    "teacher",
    "teacher: 2 steps, 32 samples, seed 0",
    "teacher: 2 steps, 32 samples, seed 1",
    "student_002",
    "student: 2 steps, 32 samples, seed 0",
    "student: 2 steps, 32 samples, seed 1",
]


@pytest.fixture
def images():
    pytest.importorskip("sklearn")
    return importlib.import_module("benchmarks.images")


@ON_TORCH
def test_tiny_run_and_its_resumption(images, tmp_path):
    command = ["--tiny", "--folder", str(tmp_path)]
    first = images.main(command)
    assert first["skipped"] == [] and list(first["stages"]) == STAGES

    path = tmp_path / f"images_digits_masked_{keras.backend.backend()}.json"
    written = json.loads(path.read_text())
    assert written["benchmark"] == "images_digits_masked"
    assert written["machine"]["backend"] == keras.backend.backend()
    assert written["settings"]["samples"] == 32
    rows = written["results"]["rows"]
    assert [(row["model"], row.get("steps")) for row in rows] == [
        ("training images", None),
        ("teacher", 2),
        ("student", 2),
    ]
    assert all(np.isfinite(row["frechet"]) and row["frechet"] > 0 for row in rows)
    assert str(tmp_path) not in path.read_text()

    again = images.main(command)
    assert again["skipped"] == STAGES and again["rows"] == first["rows"]

    # Without its last stages a run does these again, from the same weights.
    stages = {name: first["stages"][name] for name in STAGES[:5]}
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    resumed = images.main(command)
    assert resumed["skipped"] == STAGES[:5]
    np.testing.assert_allclose(resumed["rows"][2]["frechet"], first["rows"][2]["frechet"], rtol=1e-3)

    with pytest.raises(ValueError, match=r"other settings of \['process'\]"):
        images.main([*command, "--process", "uniform"])
