"""Steps that are long at first."""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import key, numpy, tiny_model, tokens


def made(**kwargs):
    distiller = kd.DMMDDistiller(tiny_model(), steps=8, **kwargs)
    distiller.compile("sgd", "sgd")
    return distiller


def gaps(distiller, rounds):
    """How long steps are after so many rounds, `t - s` of 4,000 examples, and where they end."""
    if distiller.curriculum_rounds:
        distiller.rounds.assign(rounds)
    with distiller.phase(training=True):
        s, t, step_size = (numpy(x) for x in distiller.draw_times(4000, key(1), key(2)))
    np.testing.assert_allclose(step_size, step_size[0])
    return t - s, s, step_size[0]


@pytest.mark.parametrize(
    ("rounds", "calls"), [(0, 2.0), (50, 8**0.5), (100, 4.0), (150, 32**0.5), (200, 8.0), (999, 8.0)]
)
def test_steps_shorten_from_halves(rounds, calls):
    """By `2^(1-u) 8^u` calls; of one draw every gap that is not cut at 1 is that of 8 calls, longer."""
    long, s, step_size = gaps(made(curriculum_rounds=200), rounds)
    short, again, _ = gaps(made(), rounds)
    np.testing.assert_array_equal(s, again)
    assert step_size == pytest.approx(1 / calls, rel=1e-5)
    np.testing.assert_allclose(long, np.minimum(short * 8 / calls, 1 - s), atol=2e-6)
    whole = s < 1 - 1 / calls
    assert long[whole].max() == pytest.approx(1 / calls, abs=0.01)


def test_times_of_a_grid_shorten_too():
    distiller = made(curriculum_rounds=200, times="grid")
    for rounds, calls in ((0, 2), (100, 4), (200, 8)):
        gap, s, _ = gaps(distiller, rounds)
        grid = np.arange(1, calls + 1) / calls  # the first of these times above s
        expected = grid[np.minimum(np.searchsorted(grid, s), calls - 1)]
        inside = np.abs(expected - s) > 1e-5
        np.testing.assert_allclose((gap + s)[inside], expected[inside], atol=1e-5)


def step_size(distiller):
    with distiller.phase(training=True):
        return numpy(distiller.draw_times(8, key(), key())[2])[0]


def test_rounds_are_counted_and_kept(tmp_path):
    """Within the compiled step, by another optimizer, and on from a file."""
    distiller = made(curriculum_rounds=4)
    distiller.fit(tokens(32), batch_size=16, verbose=0)  # two rounds
    assert step_size(distiller) == pytest.approx(1 / 4)
    distiller.compile("sgd", "sgd")
    assert step_size(distiller) == pytest.approx(1 / 4)
    distiller.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    assert again.curriculum_rounds == 4 and again.steps == 8
    for model in (distiller, again):
        model.fit(tokens(32), batch_size=16, verbose=0)
        assert step_size(model) == pytest.approx(1 / 8)
    for one, other in zip(distiller.student.get_weights(), again.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_trained_follows_it():
    weights = []
    for rounds in (0, 4):
        distiller = made(curriculum_rounds=rounds)
        distiller.fit(tokens(16), batch_size=16, verbose=0)
        weights.append(np.concatenate([w.ravel() for w in distiller.student.get_weights()]))
    assert np.abs(weights[0] - weights[1]).max() > 0


def test_evaluation_is_of_all_calls():
    """The same at any round: losses of one validation can be held against those of another."""
    distiller, plain = made(curriculum_rounds=200), made()
    for rounds in (0, 100, 200):
        distiller.rounds.assign(rounds)
        found, wanted = (
            model.evaluate(tokens(32), batch_size=16, verbose=0, return_dict=True)["critic_loss"]
            for model in (distiller, plain)
        )
        assert found == pytest.approx(wanted, rel=1e-5)


def test_weights_without_one_are_as_before():
    assert [v.name for v in made().non_trainable_variables].count("rounds") == 0
    assert [v.name for v in made(curriculum_rounds=1).non_trainable_variables].count("rounds") == 1


@pytest.mark.parametrize("steps", [1, 2, (1, 64)])
def test_there_must_be_longer_steps_to_begin_with(steps):
    with pytest.raises(ValueError, match="`curriculum_rounds` are for .* above 2.*curriculum_rounds=5"):
        kd.DMMDDistiller(tiny_model(), steps=steps, curriculum_rounds=5)


@pytest.mark.parametrize("rounds", [-1, 0.4, "auto", None, True])
def test_rounds_are_a_count(rounds):
    with pytest.raises(ValueError, match="`curriculum_rounds` must be"):
        kd.DMMDDistiller(tiny_model(), steps=8, curriculum_rounds=rounds)


def test_the_paper_has_none():
    with pytest.raises(ValueError, match="has steps of one length.*curriculum_rounds=5"):
        kd.DMMDDistiller(tiny_model(), steps=8, recipe="paper", curriculum_rounds=5)
