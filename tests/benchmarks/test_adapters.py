"""The benchmark of adapters: its bytes are right for a small backbone; a short run of its quality."""

import json
import pathlib

import keras
import pytest

from benchmarks import adapters
from tests.builders import ON_TORCH

SMALL = {
    "vocabulary_size": 50,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "max_sequence_length": 32,
}


@ON_TORCH
def test_bytes_of_a_small_backbone():
    pytest.importorskip("keras_hub")
    shared, integers, everything = (
        adapters.measure_bytes(SMALL, rank, int8)
        for rank, int8 in ((2, False), (2, True), (None, False))
    )
    # Kernels of rank 2: query and value 16 × 2 × 8, output, MLP, time, its projection of 64 features.
    own = 2 * (2 * 16 * 2 + 2 * 8) + (2 * 8 * 2 + 2 * 16) + 2 * 2 * (16 + 24)
    own += 2 * (128 + 64) + 2 * (64 + 64) + 2 * (64 + 16)
    noise = 16 * 16
    assert shared["trained"] == integers["trained"] == 2 * own + noise
    mib = 4 / adapters.MIB
    assert shared["weights MiB"] - shared["teacher MiB"] == pytest.approx((2 * own + noise) * mib)
    # Both moments, and the student's average; a few scalars.
    moments = (5 * own + 3 * noise) * mib
    assert shared["optimizer MiB"] == pytest.approx(moments, abs=20 * mib)
    assert integers["teacher MiB"] < 0.5 * shared["teacher MiB"]
    assert everything["weights MiB"] == pytest.approx(3 * shared["teacher MiB"] + noise * mib)
    assert everything["over the teacher alone"] == pytest.approx(8, abs=0.2)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiles for a minute")
def test_a_short_run_of_quality_and_its_resumption(tmp_path, monkeypatch):
    arguments = ["--quality", "digits", "--rounds", "2", "--batch-size", "2", "--samples", "64"]
    arguments += ["--seeds", "1", "--rank", "2", "--folder", str(tmp_path / "runs")]
    arguments += ["--results", str(tmp_path)]
    path = adapters.main(arguments)
    rows = json.loads(pathlib.Path(path).read_text())["results"]
    assert [row["training"] for row in rows] == ["adapters of rank 2", "all weights"]
    assert rows[0]["trained"] < 0.1 * rows[1]["trained"]
    assert all(row["frechet"] > 0 for row in rows)
    # What is done is not done again.
    monkeypatch.setattr(adapters, "distil", None)
    assert json.loads(pathlib.Path(adapters.main(arguments)).read_text())["results"] == rows
    with pytest.raises(ValueError, match="other arguments"):
        adapters.main([*arguments, "--rank", "3"])
    with pytest.raises(ValueError, match="needs a `--folder`"):
        adapters.main(["--quality", "digits"])
