"""`examples/sample_shards.py`: files by several processes, no row twice, after a kill too."""

import importlib.util
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
    options["processes"] = 3
    again = [script.sample(model, tmp_path / "two", process=i, **options) for i in range(3)]
    assert again == [[0], [1, 4], [2]]
    files = [[np.load(script.path_of(tmp_path / f, i)) for i in range(5)] for f in ("one", "two")]
    for a, b in zip(*files, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = np.concatenate(files[0])
    assert rows.shape == (35, 5) and len(np.unique(rows, axis=0)) >= 34  # of 50^5


def test_more_files_than_there_are_seeds_are_refused(script, tmp_path):
    with pytest.raises(ValueError, match="can be told apart"):
        script.sample(tiny_model(), tmp_path, rows=2**21, rows_per_file=1)
