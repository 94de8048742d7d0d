import json

import keras
import pytest

from benchmarks import samplers


@pytest.mark.slow
def test_every_sampler_has_a_row(tmp_path):
    if keras.backend.backend() != "torch":
        pytest.skip("twelve samplers compile for minutes; each is tested on every backend elsewhere")
    arguments = ["--sets", "digits", "--steps", "2", "--samples", "8", "--seeds", "0"]
    samplers.main([*arguments, "--folder", str(tmp_path / "cells"), "--path", str(tmp_path)])
    (path,) = tmp_path.glob("samplers_*.json")
    rows = json.loads(path.read_text())["results"]
    assert {row["sampler"] for row in rows} == {*samplers.ON_A_GRID, *samplers.ADAPTIVE}
    calls = {row["sampler"]: row["calls"] for row in rows}
    assert calls["ancestral"] == 2 and calls["first hitting"] == 64
    assert all(row["frechet_distance"] > 0 for row in rows)
