"""The benchmark of blocks runs, and both of its samplers read the same."""

import json
import pathlib

import numpy as np

from benchmarks import blocks
from tests.builders import ON_TORCH


@ON_TORCH
def test_tiny_run(tmp_path):
    arguments = "--block-size 2 --blocks 1 3 4 --compared 3 --steps 2 --hidden 32 --layers 1"
    arguments += " --batch-size 2 --repeats 1"
    path = blocks.main([*arguments.split(), "--folder", str(tmp_path)])
    rows = json.loads(pathlib.Path(path).read_text())["results"]
    assert [row["blocks"] for row in rows] == [1, 3, 4]
    assert all(row["ours_ms_a_block"] > 0 for row in rows)
    assert ["other_ms_a_block" in row for row in rows] == [True, True, False]


@ON_TORCH
def test_without_the_cache_the_text_has_the_same_shape_and_tokens():
    from keras import ops

    model = blocks.build(size=2, hidden=32, layers=1)
    written = ops.convert_to_numpy(blocks.without_cache(model, steps=2)(3, 4))
    assert written.shape == (3, 8) and 0 <= written.min() and written.max() < blocks.VOCABULARY
    assert len(np.unique(written)) > 3
