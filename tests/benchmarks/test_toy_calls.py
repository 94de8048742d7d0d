import json

from benchmarks import toy_calls
from tests.builders import ON_TORCH


@ON_TORCH
def test_tiny_run(tmp_path):
    ways = ["1 to 8", "1 to 8, critic not told", "2"]
    arguments = ["--ways", *ways, "--seeds", "1", "--pretrain", "2", "--rounds", "2"]
    toy_calls.main([*arguments, "--samples", "50", "--path", str(tmp_path)])
    (path,) = tmp_path.glob("toy_calls_masked_*.json")
    rows = json.loads(path.read_text())["results"]
    assert [row["student for"] for row in rows] == ["teacher", *ways]
    assert all(0 < row[f"{k} calls"] <= 1 for row in rows for k in (1, 2, 4, 8))
