"""Whole distillations of distributions that can be enumerated, checked by exact total variation.

One seed each here, short; `benchmarks/toy.py` runs five seeds at full length.
"""

import keras
import pytest

from benchmarks import toy

pytestmark = pytest.mark.heavy
ON_JAX = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="minutes; the same code runs on every backend above"
)


@ON_JAX
def test_two_coins_in_one_step_need_a_random_input():
    """Masks carry no information: without noise, one call draws two coins apart or always alike.

    A student that sees only masks draws each coin on its own. Were both to show heads with probability
    p, the total variation would be 2p(1-p) for p² < 1/2, and least, √2 - 1 = 0.414, at p² = 1/2.
    """
    options = {"coins": True, "updates": 600, "samples": 5_000, "learning_rate": 2e-3}
    with_noise = toy.distil("masked", 1, 0, **options)
    without = toy.distil("masked", 1, 0, noise=None, **{**options, "updates": 200})
    assert with_noise["student"] <= 0.1
    assert without["student"] >= 0.4


@ON_JAX
@pytest.mark.parametrize(
    ("process", "steps", "bound"),
    [("masked", 2, 0.2), ("uniform", 1, 0.1)],
)
def test_student_comes_close_to_the_data(process, steps, bound):
    result = toy.distil(process, steps, 0, updates=1500, learning_rate=1e-3)
    assert result["student"] <= bound
    assert result["student"] < 0.5 * result["teacher"]
