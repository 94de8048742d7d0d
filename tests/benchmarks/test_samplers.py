import json

import keras
import pytest

from benchmarks import samplers
from tests.builders import ON_TORCH


@ON_TORCH
@pytest.mark.slow
def test_every_sampler_has_a_row(tmp_path, monkeypatch):
    if keras.backend.backend() != "torch":
        pytest.skip("samplers compile for minutes; each is tested on every backend elsewhere")
    for names, kept in (("ON_A_GRID", ("ancestral", "psi 0.95")), ("ADAPTIVE", ("first hitting",))):
        monkeypatch.setattr(samplers, names, {name: getattr(samplers, names)[name] for name in kept})
    arguments = ["--sets", "digits", "--steps", "2", "--samples", "8", "--seeds", "0"]
    samplers.main([*arguments, "--folder", str(tmp_path / "cells"), "--path", str(tmp_path)])
    (path,) = tmp_path.glob("samplers_*.json")
    rows = json.loads(path.read_text())["results"]
    assert {row["sampler"] for row in rows} == {*samplers.ON_A_GRID, *samplers.ADAPTIVE}
    calls = {row["sampler"]: row["calls"] for row in rows}
    assert calls["ancestral"] == 2 and calls["first hitting"] == 64
    assert all(row["frechet_distance"] > 0 for row in rows)
