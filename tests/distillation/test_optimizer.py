import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.builders import distiller, tokens


def rate(optimizer, step):
    return float(ops.convert_to_numpy(optimizer._learning_rate(step)))


def test_rates_fall_and_a_trained_student_waits():
    both = kd.annealed_optimizers(100, 2e-3, warmup=10)
    student, critic = both["student_optimizer"], both["critic_optimizer"]
    assert rate(critic, 0) == pytest.approx(2e-3)
    assert rate(student, 0) == 0 and rate(student, 5) == pytest.approx(1e-3)
    assert rate(student, 10) == pytest.approx(2e-3, rel=1e-3)
    assert rate(critic, 50) == pytest.approx(2e-3 * (0.05 + 0.95 * 0.5), rel=1e-3)
    for optimizer in (student, critic):
        assert rate(optimizer, 100) == pytest.approx(1e-4, rel=1e-3)
    assert student.use_ema and not critic.use_ema
    # Half of the average is of about the last twelfth: 0.89 ** 8 is 0.4, over 8 of 100 rounds.
    assert student.ema_momentum ** (100 / 12) == pytest.approx(0.4, abs=0.05)
    slow = kd.annealed_optimizers(100, 2e-3, critic_steps=3)["critic_optimizer"]
    assert rate(slow, 150) == pytest.approx(rate(critic, 50))
    assert rate(kd.annealed_optimizers(100)["student_optimizer"], 0) == pytest.approx(1e-3)


def test_they_train():
    model = distiller()
    model.compile(**kd.annealed_optimizers(4, warmup=1))
    before = model.student.get_weights()
    model.fit(tokens(), epochs=2, verbose=0)
    assert any((a != b).any() for a, b in zip(before, model.student.get_weights(), strict=True))
    assert all(np.isfinite(w).all() for w in model.student.get_weights())


@pytest.mark.parametrize("warmup", [-1, 10])
def test_warmup_is_shorter_than_the_run(warmup):
    with pytest.raises(ValueError, match=f"`warmup` must be.*warmup={warmup}"):
        kd.annealed_optimizers(10, warmup=warmup)
