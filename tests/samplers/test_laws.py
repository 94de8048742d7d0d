"""The laws of samplers with the exact denoiser, against enumeration in float64."""

import itertools

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import samplers
from tests.builders import PROCESSES, all_on_torch, exact_model
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

# Samplers are the same code everywhere; tests/diffusion/test_same_numbers.py compares its numbers.
pytestmark = pytest.mark.long_compilation

SUPPORT, PROBABILITIES = toy.random_modes(2)
K, LENGTH = 3, 5
N = 20_000
FEWER = 10_000  # about 0.01 from the law by chance, and 128 factorised steps leave as much


def distance(draws):
    return kd.metrics.total_variation(draws, SUPPORT, PROBABILITIES)


def conditionals(z, support, probabilities):
    """`E[x^l | z]` of a masked row, `(length, K)`, by Bayes' rule."""
    fits = ((z == K) | (support == z)).all(axis=1) * probabilities
    return np.einsum("m,mlk->lk", fits / fits.sum(), np.eye(K)[support])


def masked_law(steps, kappa, support, probabilities):
    """The law of Psi's samples under masked diffusion, row by row: a dict of rows to probabilities.

    A step opens a masked token with probability `(t - s) / t` under the posterior, and draws any token
    anew, clean with probability `1 - s`, under the forward process. Tokens move apart.
    """
    length = support.shape[1]
    law = {(K,) * length: 1.0}
    times = np.linspace(1.0, 0.0, steps + 1)
    for t, s in itertools.pairwise(times):
        after = {}
        for row, p in law.items():
            z = np.array(row)
            mean = conditionals(z, support, probabilities)
            options = []  # of each token, probabilities of its K + 1 states
            for place in range(length):
                is_open = z[place] == K
                clean = mean[place] if is_open else np.eye(K)[z[place]]
                opens = (t - s) / t if is_open else 1.0
                opens = kappa * opens + (1.0 - kappa) * (1.0 - s)
                options.append(np.append(opens * clean, 1.0 - opens))
            for following in itertools.product(range(K + 1), repeat=length):
                q = p * np.prod([options[i][state] for i, state in enumerate(following)])
                if q > 0:
                    after[following] = after.get(following, 0.0) + q
        law = after
    return law


@pytest.mark.parametrize("name", ["ancestral", "psi"])
def test_the_law_of_two_calls(name):
    """Not that of the data, but exactly the one that enumeration gives."""
    kappa = 0.6 if name == "psi" else 1.0
    sampler = samplers.Psi(kappa) if name == "psi" else "ancestral"
    # Every row has some mass, so that there is a conditional whatever tokens meet.
    support = np.array(list(itertools.product(range(K), repeat=3)))
    probabilities = np.random.default_rng(0).dirichlet(np.full(len(support), 0.15) + 0.02)
    process = kd.MaskedDiffusion(K)
    model = kd.DiffusionModel(ExactDenoiser(support, probabilities, process), process, length=3)
    law = masked_law(2, kappa, support, probabilities)
    rows, p = np.array(list(law)), np.array(list(law.values()))
    assert abs(p.sum() - 1) < 1e-9 and len(rows) == 27
    draws = model.generate(N, steps=2, sampler=sampler, seed=1)
    # Half the sum of the standard deviations of all shares is about what chance alone makes of it.
    chance = 0.5 * np.sqrt(p * (1 - p) / N).sum()
    assert kd.metrics.total_variation(draws, rows, p) < 1.5 * chance
    assert kd.metrics.total_variation(draws, support, probabilities) > 5 * chance


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_psi_with_kappa_1_is_ancestral_to_the_bit(process):
    model = exact_model(process)
    first = model.generate(64, steps=5, seed=3, sampler="ancestral")
    np.testing.assert_array_equal(first, model.generate(64, steps=5, seed=3))
    np.testing.assert_array_equal(first, model.generate(64, steps=5, seed=3, sampler=samplers.Psi(1.0)))
    assert (first != model.generate(64, steps=5, seed=3, sampler=samplers.Psi(0.5))).any()


@pytest.mark.heavy
@all_on_torch("process", [PROCESSES[0], PROCESSES[3]])
def test_psi_draws_from_the_data_in_many_calls(process):
    draws = exact_model(process).generate(FEWER, steps=128, sampler=samplers.Psi(0.9), verbose=0)
    assert distance(draws) < 0.04


@pytest.mark.heavy
@all_on_torch("strategy", ["loop", "cap", "rescale"])
def test_remasking_draws_from_the_data_in_many_calls(strategy):
    sampler = samplers.Remasking(strategy, eta=0.1)
    draws = exact_model().generate(FEWER, steps=128, sampler=sampler, verbose=0)
    assert distance(draws) < 0.04


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_first_hitting_is_exact_in_as_many_calls_as_tokens(schedule):
    model = exact_model(kd.MaskedDiffusion(K, schedule))
    draws, calls = model.generate(N, sampler="first_hitting", return_calls=True)
    assert (calls == LENGTH).all()
    # 8 modes, 20,000 draws: 0.008 by chance. Ancestral sampling in as many calls is far off.
    assert distance(draws) < 0.016
    assert distance(model.generate(N, steps=LENGTH)) > 0.1


def test_first_hitting_opens_tokens_at_the_times_of_the_process():
    """The noise levels at which five tokens open are the order statistics of five uniform numbers."""
    sampler, process = samplers.FirstHitting(), kd.MaskedDiffusion(K, "cosine")
    z = np.full((N, LENGTH), K, "int32")
    keys = kd.random.split(0, LENGTH + 1)
    state = sampler.init(process, z, keys[0])
    log_probs = np.full((N, LENGTH, K), -np.log(K), "float32")
    times, s = np.full(N, 0.5, "float32"), np.full(N, 0.25, "float32")
    for i, key in enumerate(keys[1:]):
        time = np.asarray(sampler.time(process, z, times, state))
        level = 1.0 - np.cos(np.pi / 2 * time)
        place = LENGTH - i  # from the highest down
        mean, error = place / (LENGTH + 1), level.std() / N**0.5
        assert abs(level.mean() - mean) < 5 * error
        step = sampler.step(
            process,
            samplers.Prediction.of(log_probs, log_probs),
            z,
            s,
            times,
            state,
            kd.random.split(key, 3),
        )
        z, state = np.asarray(step.z), step.state
        assert ((z == K).sum(axis=1) == place - 1).all()
    assert np.asarray(step.done).all()


def greedy_path(score, support, probabilities):
    """The rows on the way that opens the surest token at each call, and how clear the choices are."""
    z, clear, path = np.full(LENGTH, K), np.inf, []
    for _ in range(LENGTH):
        mean = conditionals(z, support, probabilities)
        ordered = np.sort(mean, axis=1)[:, ::-1]
        entropy = -np.where(mean > 0, mean * np.log(np.maximum(mean, 1e-300)), 0.0).sum(axis=1)
        scores = {
            "probability": ordered[:, 0],
            "margin": ordered[:, 0] - ordered[:, 1],
            "entropy": -entropy,
        }[score]
        scores = np.where(z == K, scores, -np.inf)
        place, *others = np.argsort(-scores)
        if ordered[place, 0] < 1.0 - 1e-9:  # tokens that are certain may come in any order
            clear = min(clear, scores[place] - scores[others[0]], ordered[place, 0] - ordered[place, 1])
        z[place] = mean[place].argmax()
        path.append(z.copy())
    return np.array(path), clear


@pytest.mark.parametrize("score", ["probability", "margin", "entropy"])
def test_confidence_at_temperature_0_takes_the_greedy_path(score):
    paths = {seed: greedy_path(score, *toy.random_modes(seed)) for seed in range(30)}
    # Float32 must not decide: of thirty distributions the first four whose choices are clear ones.
    chosen = [seed for seed, (_, clear) in paths.items() if clear > 1e-3][:4]
    assert len(chosen) == 4
    for seed in chosen:
        path, calls = exact_model(seed=seed).generate(
            3,
            steps=LENGTH,
            temperature=0.0,
            sampler=samplers.Confidence(score),
            trajectory=True,
            return_calls=True,
            jit_compile=False,
        )
        assert (calls == LENGTH).all()
        expected = paths[seed][0]
        np.testing.assert_array_equal(path[-1], np.tile(expected[-1], (3, 1)))
        for i in range(calls_in_doubt(expected, *toy.random_modes(seed))):
            np.testing.assert_array_equal(path[i + 1], np.tile(expected[i], (3, 1)))


def calls_in_doubt(path, support, probabilities):
    """How many calls pass before a masked token is certain: from there on the order is free."""
    before = np.concatenate([np.full((1, LENGTH), K), path[:-1]])
    for i, z in enumerate(before):
        if (conditionals(z, support, probabilities).max(axis=1)[z == K] > 1 - 1e-9).any():
            return i
    return LENGTH


def half_way(sampler, process, log_probs, z, state, key=0):
    """A step from t = 0.5, of these predictions at any temperature."""
    prediction, half = samplers.Prediction.of(log_probs, log_probs), np.full(len(z), 0.5, "float32")
    return sampler.step(process, prediction, z, half, half, state, kd.random.split(key, 3))


def test_entropy_bound_goes_from_one_token_a_call_to_all_at_once():
    model = exact_model()
    one = samplers.EntropyBound(0.0, confidence_threshold=0.0)
    path = model.generate(200, sampler=one, trajectory=True)
    opened = (path[1:] != K).sum(axis=2) - (path[:-1] != K).sum(axis=2)
    # One token at a time, and then at once all those that are certain: their entropy is 0.
    assert (opened[0] == 1).all()
    everything = samplers.EntropyBound(float("inf"))
    draws, calls = model.generate(N, sampler=everything, return_calls=True)
    assert (calls == 1).all()
    marginals = np.einsum("m,mlk->lk", PROBABILITIES, np.eye(K)[SUPPORT])
    shares = np.stack([(draws == k).mean(axis=0) for k in range(K)], axis=-1)
    assert np.abs(shares - marginals).max() < 5 * 0.5 / N**0.5


def test_entropy_bound_takes_what_fits():
    """The surest first, as long as the entropies of those before sum to no more than the bound."""
    process = kd.MaskedDiffusion(2)
    p = np.array([0.5, 0.02, 0.05, 0.1])  # of the rarer token
    first, second, third, _ = np.sort(-(p * np.log(p) + (1 - p) * np.log(1 - p)))
    two, three, four = first, first + second, first + second + third
    log_probs = np.log(np.stack([1 - p, p], axis=-1))[None].astype("float32")
    z = np.full((1, 4), 2, "int32")
    tests = [(0.0, 1), (two - 0.01, 1), (two + 0.01, 2), (three - 0.01, 2), (three + 0.01, 3)]
    for bound, opened in [*tests, (four - 0.01, 3), (four + 0.01, 4)]:
        sampler = samplers.EntropyBound(bound)
        state = sampler.init(process, z, None)
        step = half_way(sampler, process, log_probs, z, state)
        assert (np.asarray(step.z) != 2).sum() == opened, bound


def test_entropy_bound_ends_where_nothing_is_in_doubt():
    """Six sure tokens: at the first call by their entropies one after the other, at the second all."""
    process = kd.MaskedDiffusion(2)
    p = np.full(6, 1e-4)
    log_probs = np.tile(np.log(np.stack([1 - p, p], axis=-1)), (3, 1, 1)).astype("float32")
    z = np.full((3, 6), 2, "int32")
    sampler = samplers.EntropyBound(0.0, confidence_threshold=0.01)
    state = sampler.init(process, z, None)
    counts = []
    for key in kd.random.split(0, 2):
        step = half_way(sampler, process, log_probs, z, state, key)
        z, state = np.asarray(step.z), step.state
        counts.append((z == 2).sum(axis=1).tolist())
    assert counts == [[5, 5, 5], [0, 0, 0]] and np.asarray(step.done).all()


def test_threshold_opens_what_is_likely_and_one_at_least():
    process = kd.MaskedDiffusion(2)
    p = np.array([[0.95, 0.85, 0.99, 0.6], [0.7, 0.6, 0.55, 0.65]])
    log_probs = np.log(np.stack([p, 1e-9 + 0 * p], axis=-1)).astype("float32")
    z, half = np.full((2, 4), 2, "int32"), np.full(2, 0.5, "float32")
    sampler = samplers.Threshold(0.9)
    state = sampler.init(process, z, None)
    step = sampler.step(
        process,
        samplers.Prediction.of(log_probs, log_probs),
        z,
        half,
        half,
        state,
        kd.random.split(0, 3),
    )
    np.testing.assert_array_equal(np.asarray(step.z), [[0, 2, 0, 2], [0, 2, 2, 2]])
    last = sampler.step(
        process,
        samplers.Prediction.of(log_probs, log_probs),
        z,
        0 * half,
        half,
        state,
        kd.random.split(0, 3),
    )
    assert (np.asarray(last.z) == 0).all() and np.asarray(last.done).all()


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("strategy", ["cap", "rescale"])
def test_remasking_keeps_the_marginals_of_the_process(strategy, eta):
    """`q(z_s | x) = Σ q(z_t | x) q_σ(z_s | z_t, x)`: after one step from t the share 1 - s is open."""
    process, n = kd.MaskedDiffusion(2), 200_000
    s, t = np.full(n, 0.3, "float32"), np.full(n, 0.6, "float32")
    x = np.zeros((n, 1), "int32")
    z = np.asarray(process.corrupt(x, t, 0))
    certain = np.where(np.eye(2)[x] > 0, 0.0, -np.inf).astype("float32")
    sampler = samplers.Remasking(strategy, eta=eta)
    z_s = np.asarray(
        sampler.step(
            process, samplers.Prediction.of(certain, certain), z, s, t, (), kd.random.split(1, 3)
        ).z
    )
    assert abs((z_s == 2).mean() - 0.3) < 5 * 0.5 / n**0.5
    back = ((z == 0) & (z_s == 2)).sum() / (z == 0).sum()
    sigma_max = min(1.0, 0.3 / 0.4)
    sigma = min(eta, sigma_max) if strategy == "cap" else eta * sigma_max
    assert abs(back - sigma) < 5 * 0.5 / (0.4 * n) ** 0.5


def test_the_loop_stands_still_between_its_ends():
    process = kd.MaskedDiffusion(3, "cosine")
    grid = samplers.Remasking("loop").grid(process, 40, None)
    assert grid[0] == 1.0 and grid[-1] == 0.0 and (np.diff(grid) <= 0).all()
    alpha = np.cos(np.pi / 2 * grid)
    u = np.linspace(1, 0, 41)
    np.testing.assert_allclose(alpha[(u < 0.54) & (u > 0.06)], 0.9, atol=1e-5)
    np.testing.assert_allclose(np.interp(0.775, u[::-1], alpha[::-1]), 0.45, atol=1e-3)


def test_exact_denoisers_of_blocks_keep_their_law():
    """A block at a time, one token per call: exactly the data, whatever was written before."""
    from tests.oracles.exact_blocks import ExactBlockDenoiser

    support, probabilities = toy.random_modes(1, length=6)
    process = kd.MaskedDiffusion(3)
    denoiser = ExactBlockDenoiser(support, probabilities, process, block_size=2)
    model = kd.DiffusionModel(denoiser, process, length=6)
    draws, calls = model.generate(N, sampler="first_hitting", return_calls=True)
    assert (calls == 6).all()
    assert kd.metrics.total_variation(draws, support, probabilities) < 0.016


def test_prompts_leave_the_conditional_law():
    model = kd.DiffusionModel(
        ExactDenoiser(SUPPORT, PROBABILITIES, kd.MaskedDiffusion(K)), kd.MaskedDiffusion(K), LENGTH
    )
    x = SUPPORT[np.argmax(PROBABILITIES)]
    known = np.array([True, False, False, True, False])
    p = PROBABILITIES * (SUPPORT == x)[:, known].all(axis=1)
    draws, calls = model.generate(
        N, prompts=x[None], known=known[None], sampler="first_hitting", return_calls=True
    )
    assert (calls == 3).all()
    assert kd.metrics.total_variation(draws, SUPPORT, p / p.sum()) < 0.016
