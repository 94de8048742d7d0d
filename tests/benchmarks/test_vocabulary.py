import json

from benchmarks import vocabulary
from tests.builders import ON_TORCH


@ON_TORCH
def test_tiny_run(tmp_path):
    arguments = ["--words", "2100", "--length", "4", "--rows", "2", "--steps", "2", "--repeats", "1"]
    found = vocabulary.main([*arguments, "--path", str(tmp_path)])
    (path,) = tmp_path.glob("vocabulary_*.json")
    assert json.loads(path.read_text())["results"] == found
    assert [row["tiles"] for row in found["generation"]] == ["auto", False]
    variants = [(row["variant"], row["update"]) for row in found["training"]]
    wanted = [(v, u) for v in ("tiles, remat", "tiles") for u in ("teacher", "D-MMD")]
    assert variants == wanted
    assert all(row["ratio"] > 0 for row in found["generation"] + found["training"])
