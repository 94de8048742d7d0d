import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dmmd import random

few = settings(max_examples=15, deadline=None, derandomize=True)


@pytest.fixture(params=["one race", "groups"])
def races(request, monkeypatch):
    """Draws as among few things, and as among many."""
    if request.param == "groups":
        monkeypatch.setattr(random.races, "MANY", 2)


def draw(seed, n=64):
    return ops.convert_to_numpy(random.uniform((n,), seed))


def poisson_interval(mean, level=0.999):
    """The central interval that a Poisson count leaves with probability below `1 - level`."""
    term = cdf = math.exp(-mean)
    low, count = 0, 0
    while cdf < 1.0 - (1.0 - level) / 2:
        if cdf < (1.0 - level) / 2:
            low = count + 1
        count += 1
        term *= mean / count
        cdf += term
    return low, count


def test_poisson_interval():
    # For a mean of 0.6: P(N = 0) = 0.5488, P(N <= 2) = 0.9769, P(N <= 3) = 0.9966.
    assert poisson_interval(0.6, 0.99) == (0, 3)
    # Nearly normal for a large mean: 200 ± 3.29 · 14.1.
    np.testing.assert_allclose(poisson_interval(200.0), (153.5, 246.5), atol=5)


@given(seed=st.integers(-(2**40), 2**40))
@few
def test_the_same_integer_gives_the_same_numbers(seed):
    np.testing.assert_array_equal(draw(seed), draw(np.int64(seed)))
    np.testing.assert_array_equal(draw(random.as_key(seed)), draw(seed))


def test_different_integers_give_different_numbers():
    draws = {draw(seed).tobytes() for seed in range(-20, 20)}
    assert len(draws) == 40


def test_a_generator_moves_on_and_starts_again():
    generator = keras.random.SeedGenerator(3)
    first, second = draw(generator), draw(generator)
    assert (first != second).any()
    np.testing.assert_array_equal(first, draw(keras.random.SeedGenerator(3)))


def row_draws(draw, start, n, parts=None):
    """Draws of rows, in parts of these sizes, by row keys and by what `split` makes of them."""
    found = []
    for size in parts or [n]:
        key = random.row_keys(7, start + ops.arange(size))
        keys = [key, *random.split(key, 3)]
        found.append(np.stack([ops.convert_to_numpy(draw((size, 3, 2), k)) for k in keys], axis=1))
        start += size
    return np.concatenate(found)


@pytest.mark.parametrize("draw", [random.uniform, random.normal])
def test_a_row_draws_the_same_beside_any_others(draw):
    whole = row_draws(draw, 0, 37)
    # Normal draws to a rounding: TensorFlow's vectorised functions have another one at an array's end.
    rounding = {"rtol": 1e-5 if draw is random.normal else 0}
    np.testing.assert_allclose(row_draws(draw, 0, 37, [5, 20, 12]), whole, **rounding)
    np.testing.assert_allclose(row_draws(draw, 36, 1), whole[36:], **rounding)
    assert len({row.tobytes() for row in whole.reshape(37 * 4, 6)}) == 37 * 4


def test_rows_are_independent():
    """200 rows of 200 draws: mean, variance, and correlation of any two rows and any two places."""
    key = random.row_keys(3, ops.arange(200))
    u, z = (
        ops.convert_to_numpy(draw((200, 200), key)).astype("float64")
        for draw in (random.uniform, random.normal)
    )
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / (12 * u.size) ** 0.5
    assert abs(z.mean()) < 4 / z.size**0.5 and abs(z.var() - 1) < 4 * (2 / z.size) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / z.size) ** 0.5
    for table in (u, u.T):
        correlations = np.corrcoef(table)[np.triu_indices(200, 1)]
        assert abs(correlations).max() < 0.4 and correlations.std() < 0.08  # 5.6 and 1.1 errors


def test_row_keys_are_no_parts_of_a_split():
    """Streams that a sampler uses side by side: of a call's key, its parts, and their rows."""
    key = random.as_key(5)
    streams = [*random.split(key, 4), *random.split(random.split(key, 2)[1], 4)]
    rows = [random.row_keys(k, ops.arange(4)) for k in (key, random.split(key, 2)[1])]
    draws = [ops.convert_to_numpy(random.uniform((6,), k)).tobytes() for k in streams]
    for keys in [*rows, *(part for k in rows for part in random.split(k, 4))]:
        draws += [row.tobytes() for row in ops.convert_to_numpy(random.uniform((4, 6), keys))]
    assert len(set(draws)) == len(draws)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="how Torch draws rows")
def test_hashed_rows_on_torch():
    """Each draw of SplitMix64 by the plain generator, in Python's integers."""
    from keras_dmmd.backend import splitmix
    from keras_dmmd.backend import torch as own

    keys = own.row_keys((11,), ops.arange(2, 5))
    found = own._hashed_rows("uniform", keys, (3, 2, 2)).numpy().reshape(3, 4)
    for row, state in zip(found, keys.tolist(), strict=True):
        state &= 2**64 - 1
        for i, value in enumerate(row):
            word = splitmix.word((state + i * 0x9E3779B97F4A7C15) & (2**64 - 1))
            assert value == (word >> 40) / 2**24
    z = own._hashed_rows("normal", own.row_keys((11,), ops.arange(300)), (300, 300)).numpy()
    assert abs(z.mean()) < 0.015 and abs(z.std() - 1) < 0.01 and np.isfinite(z).all()


@pytest.mark.parametrize("seed", [None, "7", 7.0])
def test_other_seeds_are_errors(seed):
    with pytest.raises(ValueError, match="`seed`"):
        random.as_key(seed)


def test_split_is_deterministic():
    for first, second in zip(random.split(5, 3), random.split(5, 3), strict=True):
        np.testing.assert_array_equal(draw(first), draw(second))


def test_split_keys_are_independent_of_each_other_and_of_their_parent():
    n = 20_000
    keys = [7, 8, *random.split(7, 3), *random.split(8, 3)]
    correlations = np.corrcoef([draw(key, n) for key in keys])
    off_diagonal = correlations[~np.eye(len(keys), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / math.sqrt(n)


def test_uniform_and_normal_have_their_moments():
    n = 100_000
    u = draw(1, n)
    z = ops.convert_to_numpy(random.normal((n,), 1))
    assert u.dtype == z.dtype == np.float32 and 0 <= u.min() and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * math.sqrt(1 / 12 / n)
    assert abs(u.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / n)
    assert abs(z.mean()) < 5 / math.sqrt(n) and abs(z.var() - 1) < 5 * math.sqrt(2 / n)


@given(n=st.integers(1, 50), seed=st.integers(0, 1000))
@few
def test_stratified_puts_one_draw_in_each_part(n, seed):
    t = ops.convert_to_numpy(random.stratified(n, seed))
    assert t.shape == (n,) and 0 <= t.min() and t.max() < 1
    offsets = np.sort(t) * n - np.arange(n)
    assert offsets.min() > -1e-3 and offsets.max() < 1 + 1e-3


def test_each_stratified_draw_is_uniform():
    draws = np.stack([ops.convert_to_numpy(random.stratified(4, seed)) for seed in range(400)])
    assert np.abs(draws.mean(0) - 0.5).max() < 5 * math.sqrt(1 / 12 / 400)


@given(maximum=st.integers(1, 300), seed=st.integers(0, 1000))
@few
def test_randint_stays_in_range(maximum, seed):
    draws = ops.convert_to_numpy(random.randint((5, 200), maximum, seed))
    assert draws.shape == (5, 200) and draws.dtype == np.int32
    assert draws.min() >= 0 and draws.max() < maximum


def test_randint_reaches_every_value_equally_often():
    n, K = 50_000, 10
    counts = np.bincount(ops.convert_to_numpy(random.randint((n,), K, 2)), minlength=K)
    assert np.abs(counts - n / K).max() < 5 * math.sqrt(n / K)


@pytest.mark.usefixtures("races")
def test_categorical_frequencies_by_chi_square():
    n = 200_000
    probs = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.04, 0.009, 0.001])
    logits = np.broadcast_to(np.log(probs) + 17.0, (n, 8)).astype("float32")  # any constant
    counts = np.bincount(ops.convert_to_numpy(random.categorical(logits, 11)), minlength=8)
    chi_square = np.sum((counts - n * probs) ** 2 / (n * probs))
    assert chi_square < 29.9  # the 99.99% point for 7 degrees of freedom


@pytest.mark.usefixtures("races")
def test_categorical_rows_are_drawn_on_their_own():
    logits = np.log(np.array([[0.9, 0.1], [0.2, 0.8]], "float32"))
    logits = np.broadcast_to(logits, (20_000, 2, 2))
    draws = ops.convert_to_numpy(random.categorical(logits, 4))
    assert draws.shape == (20_000, 2) and draws.dtype == np.int32
    np.testing.assert_allclose(draws.mean(0), [0.1, 0.8], atol=5 * math.sqrt(0.16 / 20_000))
    assert abs(np.corrcoef(draws.T)[0, 1]) < 5 / math.sqrt(20_000)


@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 40), (2, 0, 3)])
def test_categorical_of_no_rows(shape):
    """Such as a process may have of a last batch."""
    assert random.categorical(np.zeros(shape, "float32"), 0).shape == shape[:-1]


def test_categorical_is_deterministic():
    logits = np.zeros((100, 5), "float32")
    first, second = (ops.convert_to_numpy(random.categorical(logits, 9)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("races")
def test_categorical_never_picks_an_impossible_category():
    logits = np.full((100_000, 6), -np.inf, "float32")
    logits[:, 1], logits[:, 4] = 0.0, -12.0
    assert set(np.unique(ops.convert_to_numpy(random.categorical(logits, 5)))) <= {1, 4}


@pytest.mark.usefixtures("races")
def test_a_certain_category_always_wins():
    logits = np.full((1_000_000, 2), -np.inf, "float32")
    logits[:, 1] = -3.0
    assert (ops.convert_to_numpy(random.categorical(logits, 6)) == 1).all()


def test_a_draw_among_many_needs_few_random_numbers():
    words, n = 50_257, 300
    race = random.race((n,), words, 1)
    assert race.shape == (n, 256 + 197)
    logits = np.full((n, words), -30.0, "float32")
    logits[:, [3, 40_000, 50_256]] = np.log([0.5, 0.3, 0.2]) + 5.0
    draws = ops.convert_to_numpy(random.winner(ops.convert_to_tensor(logits), race))
    counts = [(draws == place).sum() for place in (3, 40_000, 50_256)]
    assert sum(counts) == n
    np.testing.assert_allclose(np.array(counts) / n, [0.5, 0.3, 0.2], atol=5 * math.sqrt(0.25 / n))
    np.testing.assert_array_equal(draws, ops.convert_to_numpy(random.categorical(logits, 1)))


@pytest.mark.parametrize("race", [np.ones((2, 4), "float32"), np.float32(1.0), "a"])
def test_a_race_fits_what_is_raced_for(race):
    with pytest.raises(ValueError, match="`race` must be"):
        random.winner(np.zeros((2, 3), "float32"), race)


@pytest.mark.heavy
def test_rare_events_come_as_often_as_they_should():
    """Counts of three rare events in 2·10^7 draws, inside 99.9% Poisson intervals."""
    n, chunk = 20_000_000, 2_000_000
    rare = np.array([1e-5, 1e-6, 1e-7])
    logits = np.log([1.0 - rare.sum(), *rare]).astype("float32")
    logits = ops.broadcast_to(ops.convert_to_tensor(logits), (chunk, 4))
    counts = np.zeros(4, int)
    for key in random.split(2024, n // chunk):
        draws = ops.convert_to_numpy(random.categorical(logits, key))
        counts += np.bincount(draws, minlength=4)
    for count, p in zip(counts[1:], rare, strict=True):
        low, high = poisson_interval(n * p)
        assert low <= count <= high, f"{count} events of probability {p} in {n} draws"


@pytest.mark.parametrize("p", [1e-8, 1e-9])
def test_events_too_rare_to_count_keep_their_probability(p, monkeypatch):
    """Importance sampling: the rare category's number is forced into the first of its 2^23 cells.

    There `E` is uniform in [0, 2^-23], so it beats the common category's `Exp(1)`, which must exceed
    `E / p`, with probability `r (1 - exp(-1/r))`, `r = 2^23 p`.
    """
    n, r = 200_000, 2.0**23 * p
    uniform = random.uniform

    def first_cell(shape, seed):
        draws = uniform(shape, seed)
        return draws * np.array([1.0, 0.0], "float32") if shape[-1] == 2 else draws

    monkeypatch.setattr(random.draws, "uniform", first_cell)
    logits = np.broadcast_to(np.log([1.0, p]).astype("float32"), (n, 2))
    frequency = ops.convert_to_numpy(random.categorical(logits, 8)).mean()
    expected = r * (1.0 - math.exp(-1.0 / r))
    assert abs(frequency - expected) < 5 * math.sqrt(expected / n)


SIZED = {
    "shape": lambda size: random.uniform((size, 2), 0),
    "maximum": lambda size: random.randint((4,), size, 0),
    "batch_size": lambda size: random.stratified(size, 0),
    "start": lambda size: random.spread(0, size, 4),
    "n": lambda size: random.spread(0, 2, size),
    "parts": lambda size: random.spread(0, 2, 4, size),
}


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_sizes_may_be_tensors_of_integers(name, dtype):
    draws = SIZED[name](ops.convert_to_tensor(np.array(3, dtype)))
    expected = SIZED[name](3)
    assert draws.dtype == expected.dtype
    np.testing.assert_array_equal(ops.convert_to_numpy(draws), ops.convert_to_numpy(expected))


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("value", [3.0, True, [3]])
def test_sizes_are_no_other_tensors(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
        SIZED[name](ops.convert_to_tensor(value))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_rows_of_any_integers_have_the_same_keys(dtype):
    """As an array, which is checked on the host, and as a tensor."""
    rows = np.array([3, 255], dtype)
    expected = ops.convert_to_numpy(random.uniform((2, 2), random.row_keys(0, [3, 255])))
    for same in (rows, ops.convert_to_tensor(rows)):
        draws = ops.convert_to_numpy(random.uniform((2, 2), random.row_keys(0, same)))
        np.testing.assert_array_equal(draws, expected)


@pytest.mark.parametrize(
    "rows",
    [None, "a", 3, [0.5], [-1], [2**32], [float("nan")], [[1]], *map(np.array, ([0.5], [True]))],
)
def test_rows_that_are_none(rows):
    with pytest.raises(ValueError, match="`rows` must"):
        random.row_keys(0, rows)
    if isinstance(rows, np.ndarray):  # what tensors hold cannot always be read, but their dtype can
        with pytest.raises(ValueError, match="`rows` must"):
            random.row_keys(0, ops.convert_to_tensor(rows))
