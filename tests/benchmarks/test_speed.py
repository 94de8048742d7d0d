import json

import keras
import numpy as np
import pytest

from benchmarks import speed

TINY = "--hidden 16 --layers 1 --batch-size 8 --repeats 1 --import-repeats 1 --steps 2"


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the step by hand is in JAX")
def test_the_step_by_hand_is_ours(tmp_path):
    """Its losses, at the weights that both begin with, are those of `DMMDDistiller` within noise."""
    speed.main([*TINY.split(), "--parts", "by hand", "--folder", str(tmp_path)])
    (row,) = json.loads((tmp_path / "speed_jax.json").read_text())["results"]
    assert row["ratio"] > 0
    ours, by_hand = row["losses"].values()
    np.testing.assert_allclose(by_hand["critic_loss"], ours["critic_loss"], rtol=0.3)
