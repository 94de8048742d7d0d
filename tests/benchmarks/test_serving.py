import json

import pytest

import keras_dmmd as kd
from benchmarks import serving
from tests.builders import ON_TORCH, small_model


@ON_TORCH
def test_serving(tmp_path):
    for name in ("fastapi", "httpx"):
        pytest.importorskip(name)
    kd.presets.save_to_preset(small_model(), tmp_path / "model")
    few = ["--requests", "4", "--users", "1", "2", "--folder", str(tmp_path)]
    serving.main([str(tmp_path / "model"), *few])
    (path,) = tmp_path.glob("serving_*.json")
    alone, *served = json.loads(path.read_text())["results"]["rows"]
    assert alone["way"] == "generate, one by one" and len(served) == 2
    for row in (alone, *served):
        assert 0 < row["p50_ms"] <= row["p99_ms"] and row["per_second"] > 0 < row["processor_ms"]
    assert 1 <= served[0]["rows_per_batch"] <= served[1]["rows_per_batch"] <= 2
