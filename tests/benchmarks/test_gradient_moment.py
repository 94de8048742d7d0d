"""The benchmark of the gradient moment, small: speeches of one's own, one generator, two nuclei."""

import json
import pathlib

import keras
import numpy as np
import pytest

from benchmarks import gradient_moment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiles for a minute"),
]
WORDS = "the union of states is strong and its people free we ask congress for peace".split()


def test_table(tmp_path):
    speeches = tmp_path / "speeches"
    speeches.mkdir()
    rng = np.random.default_rng(0)
    for i in range(233):
        (speeches / f"{i:03}.txt").write_text(" ".join(rng.choice(WORDS, 60)))
    arguments = ["--path", str(speeches), "--folder", str(tmp_path), "--models", "sotu_chars_student"]
    arguments += ["--samples", "16", "--batch-size", "4", "--steps", "8", "--top-p", "1", "0.5"]
    rows = json.loads(pathlib.Path(gradient_moment.main(arguments)).read_text())["results"]
    names = [row["texts"] for row in rows]
    assert names[0].startswith("held-out") and "repeated" in names[1] and "shuffled" in names[2]
    assert names[3:] == [f"sotu_chars_student, 8 calls, top-p {p}" for p in ("1", "0.5")]
    real, repeated, shuffled, *_ = rows
    mean, error = real["gradient moment"]
    assert abs(mean) < 4 * error
    assert repeated["bits per character"][0] < real["bits per character"][0]  # by likelihood the better
    for other in (repeated, shuffled):
        assert other["gradient moment"][0] > max(10 * abs(mean), 4 * other["gradient moment"][1])
    assert rows[4]["bits per character"][0] < rows[3]["bits per character"][0]
