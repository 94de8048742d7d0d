"""SDTT against its expectation by enumeration, and its stages."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import QUICKLY, key, numpy, small_model, tiny_model, tokens
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser


def coins():
    """Exact models of two coins that show the same side."""
    process = kd.MaskedDiffusion(2)
    return kd.DiffusionModel(ExactDenoiser(*toy.equal_coins(), process), process, length=2)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_loss_of_the_exact_student_of_two_coins(stage):
    """Enumerated: a coin's target is certain where the tutor's first step opened the other one alone.

    Of two masks at `t` each stays with `q = (t - γ/2) / t`, so that happens to each coin with `q (1 -
    q)`, and `KL(target ‖ 1/2) = log 2`; all other targets are what the student says.
    """
    teacher, n = coins(), 20_000
    model = kd.SDTTDistiller(
        teacher, student=coins(), tutor=coins(), steps=1, stages=3, divergence="forward"
    )
    model.rounds.assign(stage * model.rounds_per_stage)
    rows = toy.samples(*toy.equal_coins(), n, 0)
    losses, logs = model.role_losses("student", rows, key())
    t = (np.arange(100_000) + 0.5) / 100_000
    reach = np.minimum(t, 0.25 * 2**stage)
    q = (t - reach / 2) / t
    expected = np.mean(t**2 * 2 * q * (1 - q) * np.log(2)) / 2
    losses = numpy(losses)
    assert int(logs["stage"]) == stage
    assert abs(losses.mean() - expected) < 4 * losses.std() / n**0.5
    assert losses.std() / n**0.5 < 0.03 * expected


def test_stages_end_by_themselves():
    """The tutor stands still within a stage, and has the student's weights after it."""
    model = kd.SDTTDistiller(tiny_model(), steps=1, stages=2, rounds_per_stage=2)
    model.compile(keras.optimizers.SGD(0.1), **QUICKLY)
    first = model.tutor.get_weights()

    def fit():
        logs = model.fit(tokens(8), batch_size=8, shuffle=False, verbose=0).history
        return model.tutor.get_weights(), model.student.get_weights(), logs["stage"][0]

    def same(one, other):
        return all((a == b).all() for a, b in zip(one, other, strict=True))

    tutor, student, stage = fit()
    assert same(tutor, first) and not same(student, first) and stage == 0
    tutor, second, stage = fit()
    assert same(tutor, second) and stage == 0
    tutor, student, stage = fit()
    assert same(tutor, second) and not same(student, second) and stage == 1
    for _ in range(3):  # the last stage does not end
        tutor, student, stage = fit()
    assert same(tutor, second) and stage == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: {"student": t.copy(noise="gaussian")}, "SDTTDistiller would learn the mean alone"),
        (lambda t: {"student": small_model(hidden_dim=8)}, "tutor takes on the student's weights"),
        (lambda t: {"stages": 0}, "`stages` must be"),
        (lambda t: {"rounds_per_stage": 1.5}, "`rounds_per_stage` must be"),
        (lambda t: {"divergence": "both"}, "`divergence` must be one of"),
        (lambda t: {"steps": (1, 4)}, "`steps` must be"),
        (lambda t: {"tutor": tiny_model(kd.MaskedDiffusion(4))}, "tutor's vocabulary has 4"),
    ],
)
def test_bad_combinations(make, message):
    teacher = tiny_model()
    with pytest.raises(ValueError, match=message):
        kd.SDTTDistiller(teacher, **make(teacher))
