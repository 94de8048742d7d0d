import json

from benchmarks import lengths
from tests.builders import ON_TORCH


@ON_TORCH
def test_lengths(tmp_path):
    few = ["--texts", "8", "--updates", "2", "--rounds", "2", "--batch-size", "4", "--samples", "3"]
    lengths.main([*few, "--calls", "2", "--weights", "1", "2", "--path", str(tmp_path)])
    (path,) = tmp_path.glob("lengths_*.json")
    rows = json.loads(path.read_text())["results"]["rows"]
    assert [row["weight"] for row in rows] == [1, 2, None, None]
    assert all(0 <= row["letters"][0] <= lengths.LENGTH for row in rows)
