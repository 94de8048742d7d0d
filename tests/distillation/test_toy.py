"""Whole distillations of distributions that can be enumerated, checked by exact total variation.

One seed each here, as short as tells right from wrong; `benchmarks/toy.py` runs five seeds, longer.
"""

import keras
import pytest

import keras_dmmd as kd
from benchmarks import toy
from tests.oracles import toy as laws

pytestmark = pytest.mark.slow
SHORT = {"batch_size": 128, "pretrain": 300}
ON_JAX = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="minutes; the same code runs on every backend above"
)


@ON_JAX
def test_two_coins_in_one_step_need_a_random_input():
    """Masks carry no information: without noise, one call draws two coins apart or always alike.

    A student that sees only masks draws each coin on its own. Were both to show heads with probability
    p, the total variation would be 2p(1-p) for p² < 1/2, and least, √2 - 1 = 0.414, at p² = 1/2.
    """
    options = {"coins": True, "samples": 5_000, "learning_rate": 2e-3, **SHORT}
    with_noise = toy.distil("masked", 1, 0, updates=300, **options)
    without = toy.distil("masked", 1, 0, updates=100, noise=None, **options)
    assert with_noise["student"] <= 0.1
    assert without["student"] >= 0.4


@ON_JAX
@pytest.mark.parametrize(
    ("process", "steps", "updates", "bound"),
    [("masked", 2, 600, 0.2), ("uniform", 1, 400, 0.1)],
)
def test_student_comes_close_to_the_data(process, steps, updates, bound):
    """About 0.16 and 0.08, from the teacher's 0.49 and 0.81."""
    result = toy.distil(process, steps, 0, updates=updates, learning_rate=1e-3, **SHORT)
    assert result["student"] <= bound
    assert result["student"] < 0.5 * result["teacher"]


def coins_by(make, rounds, learning_rate=2e-3):
    """The student that a method makes of a learned model of two equal coins, for one call."""
    keras.utils.set_random_seed(0)
    law = laws.equal_coins()
    learned = toy.pretrain(kd.MaskedDiffusion(2), *law, updates=300, batch_size=128, seed=0)
    distiller = make(learned)
    optimizers = kd.annealed_optimizers(rounds, learning_rate)
    distiller.compile(optimizers["student_optimizer"])
    distiller.fit(laws.samples(*law, rounds * 128, 1), batch_size=128, verbose=0)
    return distiller.student


def error_of_coins(student):
    """Total variation in one call; of two coins that are drawn apart it is √2 - 1 = 0.414 at best."""
    draws = student.generate(5_000, steps=1, seed=0, verbose=0)
    return kd.metrics.total_variation(draws, *laws.equal_coins())


@ON_JAX
def test_two_coins_are_beyond_sdtt():
    """Its student draws them apart, and keeps them fair: 1/2, however it is trained."""

    def make(teacher):
        return kd.SDTTDistiller(teacher, steps=1, stages=3, rounds_per_stage=50)

    assert error_of_coins(coins_by(make, 200)) > 0.45


@ON_JAX
def test_two_coins_need_the_mixture_of_di4c():
    """With λ its student does what no product can; where λ is shut off it is one again."""

    def make(teacher):
        options = {"teacher_steps": 8, "data_weight": 1.0, "noise_scale": 1.0}
        return kd.Di4CDistiller(teacher, steps=1, **options)

    student = coins_by(make, 150, learning_rate=3e-3)
    assert error_of_coins(student) < 0.35
    kernel = student.capabilities.noise_layer.project.kernel
    kernel.assign(0.0 * kernel)
    assert error_of_coins(student) > 0.414
