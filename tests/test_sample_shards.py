"""`examples/sample_shards.py`: files by several processes, no row twice, after a kill too."""

import hashlib
import importlib.util
import json
import os
import pathlib

import numpy as np
import pytest

from tests.builders import tiny_model

PATH = pathlib.Path(__file__).parent.parent / "examples" / "sample_shards.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("sample_shards", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_any_number_of_processes_makes_the_same_files(script, tmp_path):
    model, options = tiny_model(words=50), {"rows": 35, "rows_per_file": 8, "steps": 2, "seed": 3}
    assert script.sample(model, tmp_path / "one", **options) == [0, 1, 2, 3, 4]
    assert script.sample(model, tmp_path / "two", process=1, processes=2, **options) == [1, 3]
    os.remove(script.path_of(tmp_path / "two", 1))  # as if killed on the way
    with open(script.path_of(tmp_path / "two", 3), "r+b") as file:
        file.write(b"x")
    options |= {"processes": 3, "verify": True}
    again = [script.sample(model, tmp_path / "two", process=i, **options) for i in range(3)]
    assert again == [[0, 3], [1, 4], [2]]
    files = [[np.load(script.path_of(tmp_path / f, i)) for i in range(5)] for f in ("one", "two")]
    for a, b in zip(*files, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = np.concatenate(files[0])
    assert rows.shape == (35, 5) and len(np.unique(rows, axis=0)) >= 34  # of 50^5

    found = [json.loads((tmp_path / f / "manifest.json").read_text()) for f in ("one", "two")]
    assert found[0] == found[1] and (found[0]["done"], found[0]["files"]) == (5, 5)
    shards = list(found[0]["shards"].values())
    assert [shard["rows"] for shard in shards] == [8, 8, 8, 8, 3]
    assert [shard["seed"] for shard in shards] == [3 * 2**20 + i for i in range(5)]
    for name, shard in found[0]["shards"].items():
        content = (tmp_path / "one" / name).read_bytes()
        assert shard["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_folder_is_of_one_sampling(script, tmp_path):
    model, options = tiny_model(words=50), {"rows": 8, "rows_per_file": 8, "steps": 1}
    script.sample(model, tmp_path, **options)
    before = (tmp_path / "manifest.json").read_bytes()
    for change in ({"seed": 1}, {"rows": 9}, {"steps": 2}):
        with pytest.raises(ValueError, match=f"begun with .*{[*change][0]}.*: take another one"):
            script.sample(model, tmp_path, **options | change)
    with pytest.raises(ValueError, match="begun with weights="):
        script.sample(tiny_model(seed=1, words=50), tmp_path, **options)
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_a_manifest_has_what_others_finish_meanwhile(script, tmp_path, monkeypatch):
    """Two processes, each of which writes its manifest over the other's."""
    one, two = (script.Shards(tmp_path, {}, 2) for _ in range(2))
    write, samples = script.write_json, np.zeros((1, 5), "int32")

    def late(path, content):
        monkeypatch.setattr(script, "write_json", write)
        two.add(1, samples, 1)
        write(path, content)

    monkeypatch.setattr(script, "write_json", late)
    one.add(0, samples, 0)
    assert json.loads((tmp_path / "manifest.json").read_text())["done"] == 2


def test_more_files_than_there_are_seeds_are_refused(script, tmp_path):
    with pytest.raises(ValueError, match="can be told apart"):
        script.sample(tiny_model(), tmp_path, rows=2**21, rows_per_file=1)
