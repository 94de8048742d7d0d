import json

import pytest

from benchmarks import times
from tests.builders import ON_TORCH


@ON_TORCH
def test_times(tmp_path, monkeypatch):
    monkeypatch.setitem(times.NETWORKS, "small", (3, 4, {}))
    arguments = ["--networks", "small", "--students", "--batch-size", "2", "--repeats", "1"]
    times.main([*arguments, "--path", str(tmp_path)])
    (path,) = tmp_path.glob("times_*.json")
    (row,) = json.loads(path.read_text())["results"]["training"]
    per_second = row["rows_per_second_round"] * row["seconds_per_round"]
    assert row["seconds_per_update"] > 0 and per_second == pytest.approx(2)
