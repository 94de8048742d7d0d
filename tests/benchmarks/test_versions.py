import json
import os

from benchmarks import versions
from tests.builders import ON_TORCH


@ON_TORCH
def test_a_version_beside_itself(tmp_path):
    here = os.path.dirname(os.path.dirname(os.path.abspath(versions.__file__)))
    arguments = ["--before", here, "--rows", "2", "--repeats", "2", "--path", str(tmp_path)]
    found = versions.main(arguments)
    (path,) = tmp_path.glob("versions_*.json")
    assert json.loads(path.read_text())["results"] == found
    assert [row["what"] for row in found] == list(versions.JOBS["tiny"])
    assert all(row["least"] <= row["ratio"] <= row["greatest"] for row in found)
