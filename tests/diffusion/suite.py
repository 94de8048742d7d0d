"""What any process of the form `q(z_t | x) = α x + (1 - α) π` promises: a suite that one line takes.

```python
class TestMine(ProcessSuite):
    make = MyDiffusion  # called with a vocabulary size and a schedule
```

Everything is compared with float64 numpy, by enumeration, from the process's α and π alone.
"""

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import key, numpy, tiny_model
from tests.oracles import bayes, toy
from tests.oracles.exact_denoiser import ExactDenoiser

K, LENGTH = 3, 3
SUPPORT = np.array([[0, 1, 2], [0, 2, 1], [2, 2, 2], [1, 0, 0], [1, 1, 0]])
PROBABILITIES = np.array([0.35, 0.25, 0.2, 0.15, 0.05])
TIMES = [(0.1, 0.3), (0.2, 0.9), (0.35, 0.4), (0.6, 0.99)]
N = 20_000


def batch(value, n):
    return np.full(n, value, "float32")


def frequencies(ids, states):
    """Of ids `(n, length)`, `(length, states)`."""
    return np.stack([np.bincount(column, minlength=states) for column in ids.T]) / len(ids)


def assert_frequencies(ids, expected, states):
    """Within 5 standard deviations, and exactly 0 or 1 where expected so."""
    sigma = np.sqrt(np.maximum(expected * (1 - expected), 0) / len(ids))
    assert (np.abs(frequencies(ids, states) - expected) <= 5 * sigma + 1e-5).all()


class ProcessSuite:
    """Tests of a process; a subclass says how to `make` one."""

    make = None

    @pytest.fixture(params=["linear", "cosine"])
    def process(self, request):
        return type(self).make(K, request.param)

    @pytest.fixture
    def linear(self):
        return type(self).make(K, "linear")

    def level(self, process, t):
        noise = numpy(process.noise(batch(t, 1)))[0]
        return bayes.Level(numpy(process.signal(batch(t, 1)).alpha)[0], noise)

    def levels(self, process, s, t):
        return self.level(process, s), self.level(process, t)

    def possible_pairs(self, process, s, t):
        """All `(x, z_t)` with mass, as two columns."""
        exact = bayes.posterior(K, *self.levels(process, s, t))
        pairs = np.argwhere(np.isfinite(exact[..., 0]))
        return pairs[:, :1], pairs[:, 1:]

    # The forward process --------------------------------------------------------------------------

    def test_noise_is_a_distribution_with_a_derivative(self, process):
        t = np.linspace(0.05, 0.95, 7).astype("float32")
        noise = numpy(process.noise(t))
        assert noise.shape == (7, process.num_states) and (noise >= 0).all()
        np.testing.assert_allclose(noise.sum(-1), 1.0, atol=1e-6)
        step = np.float32(1e-3)
        difference = (numpy(process.noise(t + step)) - numpy(process.noise(t - step))) / (2 * step)
        np.testing.assert_allclose(numpy(process.noise_derivative(t)), difference, atol=2e-3)

    def test_noise_only_grows(self, process):
        """Transitions have no negative probability."""
        for s, t in TIMES:
            assert (bayes.transition(*self.levels(process, s, t)) > -1e-6).all()

    @pytest.mark.parametrize("t", [0.0, 0.25, 0.7, 1.0])
    def test_corruption(self, process, t):
        x = np.broadcast_to(np.arange(K), (N, K)).astype("int32")
        expected = self.level(process, t).corruption(K)
        marginal = numpy(process.marginal(x[:1], batch(t, 1)))[0]
        np.testing.assert_allclose(marginal, expected, atol=1e-6)
        z = numpy(process.corrupt(x, batch(t, N), seed=1))
        assert z.dtype == np.int32
        assert_frequencies(z, expected, process.num_states)

    def test_prior(self, process):
        z = numpy(process.prior((N, 2), seed=1))
        assert z.dtype == np.int32
        expected = np.tile(self.level(process, 1.0).noise, (2, 1))
        assert_frequencies(z, expected, process.num_states)
        assert process.constant_prior == ((z == z[0, 0]).all())

    def test_time_of_a_signal(self, process):
        t = np.linspace(0.01, 0.99, 9).astype("float32")
        found = process.time_of(process.signal(t).alpha)
        np.testing.assert_allclose(numpy(found), t, atol=1e-4)

    # The posterior --------------------------------------------------------------------------------

    @pytest.mark.parametrize("s, t", TIMES)
    def test_posterior_of_ids(self, process, s, t):
        x, z = self.possible_pairs(process, s, t)
        found = process.posterior(x, z, batch(s, len(x)), batch(t, len(x)))
        exact = bayes.posterior(K, *self.levels(process, s, t))[x, z]
        np.testing.assert_allclose(numpy(found), exact, atol=2e-5)

    @pytest.mark.parametrize("s, t", TIMES)
    def test_posterior_of_a_prediction(self, process, s, t):
        """Against `Σ_x p(x | z_t) q(z_s | z_t, x)`, the true posterior of the model's belief."""
        _, z = self.possible_pairs(process, s, t)
        loo = np.random.default_rng(0).dirichlet(np.ones(K), size=z.shape)
        mean = loo * self.level(process, t).corruption(K).T[z]
        mean /= mean.sum(-1, keepdims=True)
        prediction = loo if process.prediction == "loo" else mean
        exact = np.nan_to_num(bayes.posterior(K, *self.levels(process, s, t)))
        exact = np.einsum("nlk,nlks->nls", mean, np.swapaxes(exact, 0, 1)[z])
        times = batch(s, len(z)), batch(t, len(z))
        found = numpy(process.posterior(prediction.astype("float32"), z, *times))
        np.testing.assert_allclose(found, exact, atol=2e-5)

    @pytest.mark.parametrize("s, t", TIMES)
    def test_draws_of_the_posterior(self, process, s, t):
        pairs = self.possible_pairs(process, s, t)
        x, z = (np.broadcast_to(ids.T, (N, len(ids))).astype("int32") for ids in pairs)
        drawn = numpy(process.sample_posterior(x, z, batch(s, N), batch(t, N), seed=3))
        exact = bayes.posterior(K, *self.levels(process, s, t))[x[0], z[0]]
        assert_frequencies(drawn.astype(int), exact, process.num_states)

    # Predictions and losses -----------------------------------------------------------------------

    @pytest.mark.parametrize("t", [0.05, 0.4, 0.95])
    def test_predictions_of_the_exact_denoiser(self, process, t):
        level = self.level(process, t)
        z = bayes.all_rows(process.num_states, LENGTH)
        z = z[bayes.likelihoods(K, level, SUPPORT, z).prod(-1) @ PROBABILITIES > 1e-9]
        times = batch(t, len(z))
        logits = ExactDenoiser(SUPPORT, PROBABILITIES, process)(z, times)
        mean = np.exp(numpy(process.log_mean(logits, z, times)))
        np.testing.assert_allclose(
            mean, bayes.exact_mean(K, level, SUPPORT, PROBABILITIES, z), atol=5e-5
        )
        if not process.absorbing:  # there both are one, and the network's own
            loo = np.exp(numpy(process.log_loo(logits, z, times)))
            exact = bayes.exact_loo(K, level, SUPPORT, PROBABILITIES, z)
            np.testing.assert_allclose(loo, exact, atol=2e-3)

    def test_nelbo_of_the_exact_denoiser_is_the_entropy(self, process):
        """By quadrature in u, t = u²: the integrand has a logarithmic pole at t = 0."""
        nodes, weights = np.polynomial.legendre.leggauss(40)
        u, weights = (nodes + 1) / 2, weights / 2
        times, weights = (u**2).astype("float32"), weights * 2 * u
        denoiser = ExactDenoiser(SUPPORT, PROBABILITIES, process)
        states = bayes.all_rows(process.num_states, LENGTH)
        z, t = np.tile(states, (40, 1)), np.repeat(times, len(states))
        total = 0.0
        for x, p in zip(SUPPORT, PROBABILITIES, strict=True):
            q = [
                bayes.likelihoods(K, self.level(process, time), x[None], states).prod((1, 2))
                for time in times
            ]
            data = np.broadcast_to(x, z.shape)
            integrand = numpy(process.nelbo(denoiser(z, t), data, z, t))
            total += p * np.sum(np.repeat(weights, len(states)) * np.concatenate(q) * integrand)
        entropy = -np.sum(PROBABILITIES * np.log(PROBABILITIES))
        np.testing.assert_allclose(total, entropy, atol=2e-3)

    def test_nelbo_is_the_limit_of_short_steps(self, linear):
        """`KL(q(z_s | z_t, x) ‖ q(z_s | z_t, x̂)) / (t - s)`, of predictions that are far off."""
        t, width = 0.5, 1e-4
        loo = np.array([0.5, 0.2, 0.3])
        late, early = self.level(linear, t), self.level(linear, t - width)
        x, z = self.possible_pairs(linear, t - width, t)
        exact = [
            bayes.nelbo_rate(K, (early, late), loo, *pair, width) for pair in np.column_stack([x, z])
        ]
        logits = np.broadcast_to(np.log(loo), (len(x), 1, K))
        if linear.prediction == "mean" and not linear.absorbing:
            logits = logits + np.log(late.corruption(K).T[z])
        times = batch(t, len(x))
        found = numpy(linear.nelbo(logits.astype("float32"), x, z, times))
        np.testing.assert_allclose(found, exact, rtol=0.02, atol=2e-3)

    def inputs(self, process, n=4):
        rng = np.random.default_rng(0)
        x = rng.integers(K, size=(n, LENGTH)).astype("int32")
        t = np.linspace(0.2, 0.9, n).astype("float32")
        z = numpy(process.corrupt(x, t, seed=1))
        return rng.normal(size=(n, LENGTH, K)).astype("float32"), x, z, t

    def test_losses_are_read_off_their_tables(self, process):
        logits, x, z, t = self.inputs(process)
        for value, table, weight in (
            (process.loss, process.cost, process.loss_weight),
            (process.nelbo, process.nelbo_cost, process.nelbo_weight),
        ):
            rows = np.take_along_axis(numpy(table(logits, z, t)), x[..., None], -1)[..., 0]
            weights = numpy(weight(t))
            np.testing.assert_allclose(numpy(value(logits, x, z, t)), weights * rows.sum(1), rtol=1e-5)
            where = np.arange(LENGTH) < np.array([0, 1, 2, 3])[:, None]
            some = numpy(value(logits, x, z, t, where=where))
            np.testing.assert_allclose(some, weights * (rows * where).sum(1), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("t", [0.0, 1e-4, 1.0])
    def test_losses_are_finite_at_the_ends_of_time(self, process, t):
        logits, x, z, _ = self.inputs(process)
        times = batch(t, len(x))
        for value in (process.loss, process.nelbo):
            assert np.isfinite(numpy(value(20 * logits, x, z, times))).all()

    # The whole ------------------------------------------------------------------------------------

    def test_config_and_files(self, process, tmp_path):
        again = type(process).from_config(process.get_config())
        assert again.get_config() == process.get_config() and repr(again) == repr(process)
        model = tiny_model(process)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded.process) is type(process)
        assert loaded.process.get_config() == process.get_config()

    @pytest.mark.long_compilation
    def test_it_trains_samples_and_is_distilled(self, linear):
        support, probabilities = toy.random_modes(0)
        x = toy.samples(support, probabilities, 256, 0)
        model = tiny_model(linear)
        model.compile(keras.optimizers.Adam(1e-2))
        before = model.evaluate(x, verbose=0)
        model.fit({"tokens": x, "known": x == 1}, epochs=2, verbose=0)
        model.fit(x, epochs=3, verbose=0)
        assert model.evaluate(x, verbose=0) < before
        known = np.arange(5) < 2
        draws = model.generate(8, steps=3, prompts=x[:8], known=np.tile(known, (8, 1)))
        np.testing.assert_array_equal(draws[:, :2], x[:8, :2])
        assert (0 <= draws).all() and (draws < K).all()
        distiller = kd.DMMDDistiller(model, steps=2)
        distiller.compile()
        logs = distiller.fit(x[:64], verbose=0).history
        assert np.isfinite([v for values in logs.values() for v in values]).all()
        draw = distiller.draw(x, key())
        assert (numpy(draw.z_s) < linear.num_states).all()
        draws = distiller.student.generate(8, steps=2)
        assert (0 <= draws).all() and (draws < K).all()

    def test_many_steps_of_the_exact_denoiser_draw_from_the_data(self, linear):
        exact = ExactDenoiser(SUPPORT, PROBABILITIES, linear)
        draws = kd.DiffusionModel(exact, linear, length=LENGTH).generate(10_000, steps=64, verbose=0)
        # 5 modes, 10,000 draws: about 0.01 by chance; 64 factorised steps leave as much.
        assert kd.metrics.total_variation(draws, SUPPORT, PROBABILITIES) < 0.04
