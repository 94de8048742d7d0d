"""The contract of a forward process; the mathematics that every process shares."""

import abc
import functools

import keras
from keras import ops

from keras_dmmd import backend, checks, random, schedules
from keras_dmmd.schedules import TIME_EPSILON
from keras_dmmd.tensors import (
    PROBABILITY_FLOOR,
    SIGNAL_FLOOR,
    WEIGHT_FLOOR,
    gather,
    per_state,
    per_token,
    total,
    where_reached,
)
from keras_dmmd.vocabulary import Logits

# The least noise `1 - α` that costs count with, a hundredth of the earliest training time, so that
# nothing divides by 0 at `t = 0`.
NOISE_FLOOR = 1e-2 * TIME_EPSILON


class DiffusionProcess(abc.ABC):
    """A corruption of tokens in continuous time, `q(z_t | x) = Cat(α_t x + (1 - α_t) π_t)`.

    A process says how to corrupt, and turns a network's logits into everything that training,
    distillation and sampling need; it holds no weights. To add one, subclass and write `noise`, the
    distribution π_t, and where that moves with time `noise_derivative`: all else follows from it and
    from the schedule. The other methods may be overridden with forms that cost less, or, for a process
    that is not of this form, with its own mathematics.

    Args:
        vocabulary_size: K, the number of clean tokens, `0 .. K - 1`.
        schedule: a name or a schedule object, see `keras_dmmd.schedules`.

    Attributes:
        vocabulary_size: K.
        num_states: the number of ids that a corrupted token can have.
        predictions: the accepted meanings of a network's output.
        prediction: the one in use, `"mean"` (`E[x^l | z_t]`) or `"loo"`
            (`E[x^l | z_t without position l]`).
        mask_id: K, the state that is no token, or `None` where there is no such state.
        absorbing: whether all noise is the mask, which is never left again. A token that is masked is
            open, a token that is not is known for certain; samplers and distillers ask for nothing
            else.
        constant_prior: whether `z_1` is the same in every sample: by default whether all noise is one
            state at `t = 1`.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class NoiseOfZeros(kd.DiffusionProcess):
        '''Half of the noise is token 0, the rest is uniform.'''

        def noise(self, t):
            zero = keras.ops.one_hot(keras.ops.zeros_like(t, dtype="int32"), self.vocabulary_size)
            return 0.5 * zero + 0.5 / self.vocabulary_size

    model = kd.DiffusionModel(kd.Denoiser(17), NoiseOfZeros(17), length=64)
    ```
    """

    predictions = ("mean",)
    prediction = "mean"
    absorbing = False
    time_epsilon = TIME_EPSILON

    def __init__(self, vocabulary_size, schedule="linear", prediction="mean"):
        self.vocabulary_size = checks.count("vocabulary_size", vocabulary_size, least=2)
        self.schedule = schedules.get(schedule)
        self.prediction = checks.choice("prediction", prediction, self.predictions)

    @property
    def num_states(self):
        return self.vocabulary_size + int(self.absorbing)

    @functools.cached_property
    def mask_id(self):
        return self.vocabulary_size if self.num_states > self.vocabulary_size else None

    @functools.cached_property
    def constant_prior(self):
        return float(ops.max(self.noise(ops.ones((1,))))) > 1.0 - 1e-6

    # The forward process --------------------------------------------------------------------------

    def signal(self, t):
        """α and α' at `t`, `(batch,)` each, float32."""
        return self.schedule(ops.cast(t, "float32"))

    @abc.abstractmethod
    def noise(self, t):
        """π_t, what a token becomes that is no longer clean: probabilities `(batch, num_states)`."""

    def noise_derivative(self, t):
        """dπ_t/dt, `(batch, num_states)`; 0 unless the noise moves with time."""
        return ops.zeros_like(self.noise(t))

    def marginal(self, x, t):
        """`q(z_t | x)`, probabilities `(batch, length, num_states)`.

        Args:
            x: ids `(batch, length)`, or probabilities `(batch, length, K)` over them.
            t: times `(batch,)`.
        """
        alpha = per_state(self.signal(t).alpha)
        return alpha * self._as_states(x) + (1.0 - alpha) * ops.expand_dims(self.noise(t), 1)

    def corrupt(self, x, t, seed):
        """`z_t ~ q(z_t | x)`: ids `(batch, length)` at times `(batch,)`."""
        keep_seed, noise_seed = random.split(seed, 2)
        keep = random.uniform(ops.shape(x), keep_seed) < per_token(self.signal(t).alpha)
        return ops.where(keep, ops.cast(x, "int32"), self._draw_noise(ops.shape(x), t, noise_seed))

    def prior(self, shape, seed):
        """`z_1`: ids of the given shape, `(batch, length)`."""
        return self._draw_noise(shape, ops.ones((shape[0],)), seed)

    def _draw_noise(self, shape, t, seed):
        log_noise = ops.log(ops.maximum(self.noise(t), PROBABILITY_FLOOR))
        table = ops.broadcast_to(ops.expand_dims(log_noise, 1), (*shape, self.num_states))
        return random.categorical(table, seed)

    def posterior(self, x, z_t, s, t):
        """`q(z_s | z_t, x)` for `s <= t`, probabilities `(batch, length, num_states)`.

        By Bayes' rule `∝ q(z_t | z_s) q(z_s | x)`, with `α_ts = α_t / α_s` and

            q(z_t | z_s) = α_ts [z_t = z_s] + (1 - α_t) π_t(z_t) - α_ts (1 - α_s) π_s(z_t)

        For a `mean` prediction this is the mixture `Σ_k x_k q(z_s | z_t, k)`. Putting the vector
        itself into the formula would be wrong; its leave-one-out form there gives the mixture.

        Args:
            x: ids `(batch, length)`, or a prediction as probabilities `(batch, length, K)` with the
                meaning that `prediction` names.
            z_t: ids `(batch, length)`.
            s, t: times `(batch,)`.
        """
        if len(x.shape) == 3 and self.prediction == "mean":
            x = ops.exp(self.log_loo(ops.log(ops.maximum(x, PROBABILITY_FLOOR)), z_t, t))
        alpha_s, alpha_t = self.signal(s).alpha, self.signal(t).alpha
        alpha_ts = alpha_t / ops.maximum(alpha_s, SIGNAL_FLOOR)
        added = per_token(1.0 - alpha_t) * self.noise(t)
        added = added - per_token(alpha_ts * (1.0 - alpha_s)) * self.noise(s)
        added = ops.expand_dims(backend.gather_last(ops.maximum(added, 0.0), z_t), -1)
        from_z = per_state(alpha_ts) * ops.one_hot(z_t, self.num_states, dtype="float32") + added
        product = from_z * self.marginal(x, s)
        mass = ops.sum(product, axis=-1, keepdims=True)
        kept = ops.one_hot(z_t, self.num_states, dtype="float32")  # where `x` cannot have become `z_t`
        return ops.where(mass > 0, product / ops.maximum(mass, PROBABILITY_FLOOR), kept)

    def sample_posterior(self, x, z_t, s, t, seed):
        """`z_s ~ q(z_s | z_t, x)` for ids `x`, `(batch, length)`.

        Overridden where it can be drawn without the table over all states.
        """
        return random.categorical(ops.log(self.posterior(x, z_t, s, t)), seed)

    def where_drawn(self, z_t, s, t, seed):
        """The positions whose `x` decides `z_s` of `sample_posterior` with this seed.

        Bool `(batch, length)`, or `None` for all: others need no prediction.
        """
        del z_t, s, t, seed
        return None

    def time_of(self, alpha):
        """The time at which the signal has come down to `alpha`, `(batch,)`; 1 where it never does."""
        return where_reached(lambda t: self.signal(t).alpha, alpha)

    def is_open(self, z_t):
        """Which tokens are to be predicted, and so carry loss: bool `(batch, length)`."""
        if self.absorbing:
            return ops.equal(z_t, self.mask_id)
        return ops.ones_like(z_t, dtype="bool")

    def _as_states(self, x):
        """Ids or probabilities of clean tokens as those of states, `(batch, length, num_states)`."""
        if len(x.shape) == 2:
            return ops.one_hot(x, self.num_states, dtype="float32")
        more = self.num_states - self.vocabulary_size
        x = ops.cast(x, "float32")
        return ops.pad(x, ((0, 0), (0, 0), (0, more))) if more else x

    # What a prediction says -----------------------------------------------------------------------

    def log_likelihood(self, z_t, t):
        """`log q(z_t | x = k)` for every clean token k, `(batch, length, K)`."""
        alpha = self.signal(t).alpha
        noise = per_token(ops.maximum(1.0 - alpha, NOISE_FLOOR)) * self.noise(t)
        noise = ops.expand_dims(backend.gather_last(noise, z_t), -1)
        same = ops.one_hot(z_t, self.num_states, dtype="float32")[..., : self.vocabulary_size]
        return ops.log(ops.maximum(per_state(alpha) * same + noise, PROBABILITY_FLOOR))

    def log_mean(self, logits, z_t, t):
        """`log E[x | z_t]`, normalised, `(batch, length, K)`: what an ancestral step draws from."""
        log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        if self.prediction == "mean":
            return log_probs
        return ops.log_softmax(log_probs + self.log_likelihood(z_t, t), axis=-1)

    def log_mean_open(self, logits, z_t, t):
        """`log_mean` where all tokens are open."""
        return self.log_mean(logits, z_t, t)

    def log_loo(self, logits, z_t, t):
        """`log E[x^l | z_t without l]`, normalised, `(batch, length, K)`.

        The two are tied by `loo ∝ mean / q(z_t^l | x^l)`.
        """
        logits = ops.cast(logits, "float32")
        if self.prediction == "mean":
            logits = ops.log_softmax(logits, axis=-1) - self.log_likelihood(z_t, t)
        return ops.log_softmax(logits, axis=-1)

    # Losses ---------------------------------------------------------------------------------------

    def cost(self, logits, z_t, t):
        """The training loss of every possible clean token, `(batch, length, K)`, before `loss_weight`.

        `cost[b, l, k]` is the loss at position `l` if the clean token there is `k`. Training reads
        it at the data, moment matching averages it over a prediction: one table serves both. By
        default cross-entropy for a `mean` prediction, and the integrand of the NELBO for `loo`.
        """
        if self.prediction == "mean":
            return -self.log_mean(logits, z_t, t)
        return self.nelbo_cost(logits, z_t, t)

    def nelbo_cost(self, logits, z_t, t):
        """The NELBO's integrand for every possible clean token, `(batch, length, K)`, before its
        weight.

        A token's noise sets in at the rate `λ [π_t + (1 - α_t) π'_t / λ]`, `λ = -α'/α`. Under it, of
        the paths that lead to `z_t`, the bound compares those from `x` with those from the prediction:
        with `q_k` the marginal of the clean token k, `q̂` that of the leave-one-out prediction, `i =
        z_t`, the rate's share ρ_i and all logarithms natural,

            ρ_i { 1/q̂_i - 1/q_k,i + 1/q_k,i [ Σ_j q_k,j log(q_k,j / q̂_j) - log(q_k,i / q̂_i) ] }

        (generalised interpolating diffusion, arXiv 2503.04482, theorem 3.2; UDLM, arXiv 2412.10193,
        eq. 13, for uniform noise.) `q_k` differs from `(1 - α) π` at k alone, so the sum over j is
        closed and the table costs O(K).
        """
        alpha = per_token(ops.maximum(self.signal(t).alpha, 0.0))  # rounding may take it below 0
        scale = ops.maximum(1.0 - alpha, NOISE_FLOOR)
        decay = per_token(ops.maximum(self.nelbo_weight(t), SIGNAL_FLOOR))
        rate = self.noise(t) + scale * self.noise_derivative(t) / decay
        noise = ops.maximum(scale * self.noise(t), PROBABILITY_FLOOR)  # (batch, num_states)
        clean_noise = noise[..., : self.vocabulary_size]
        loo = self._as_states(ops.exp(self.log_loo(logits, z_t, t)))
        log_q_hat = ops.log(ops.expand_dims(alpha, -1) * loo + ops.expand_dims(noise, 1))
        log_q_hat_i = ops.expand_dims(gather(log_q_hat, z_t), -1)
        # Σ_j q_k,j log q_k,j and Σ_j q_k,j log q̂_j: what noise gives, and the rest at j = k.
        with_signal = alpha + clean_noise
        own = ops.sum(noise * ops.log(noise), axis=-1, keepdims=True)
        own = own + with_signal * ops.log(with_signal) - clean_noise * ops.log(clean_noise)
        cross = ops.sum(ops.expand_dims(noise, 1) * log_q_hat, axis=-1, keepdims=True)
        cross = cross + ops.expand_dims(alpha, -1) * log_q_hat[..., : self.vocabulary_size]
        same = ops.one_hot(z_t, self.num_states, dtype="float32")[..., : self.vocabulary_size]
        q_i = ops.expand_dims(alpha, -1) * same + ops.expand_dims(backend.gather_last(noise, z_t), -1)
        divergence = ops.expand_dims(own, 1) - cross - ops.log(q_i) + log_q_hat_i
        rate_i = ops.expand_dims(backend.gather_last(rate, z_t), -1)
        return rate_i * (ops.exp(-log_q_hat_i) + (divergence - 1.0) / q_i)

    def loss_weight(self, t):
        """The weight of time in training, `(batch,)`: `loss = loss_weight · cost`.

        By default 1, for plain cross-entropy, and the NELBO's where `cost` is that of the NELBO.
        """
        if self.prediction == "mean":
            return ops.ones_like(self.signal(t).alpha)
        return self.nelbo_weight(t)

    def nelbo_weight(self, t):
        """The NELBO's weight of time, `(batch,)`: `nelbo = nelbo_weight · nelbo_cost`; `λ = -α'/α`."""
        alpha, derivative = self.signal(t)
        return -derivative / ops.maximum(alpha, WEIGHT_FLOOR)

    def loss(self, logits, x, z_t, t, where=None):
        """The training loss of each example, `(batch,)`, summed over positions, or those in `where`.

        `logits` are a table `(batch, length, K)`, or `keras_dmmd.vocabulary.Logits`.
        """
        return self.loss_weight(t) * self._cost_of(x, self.cost, logits, z_t, t, where)

    def nelbo(self, logits, x, z_t, t, where=None):
        """The integrand of the negative ELBO at `t`, `(batch,)` nats, summed over positions.

        `where`, bool `(batch, length)`, leaves out positions that are given.

        Its mean over `t ~ U(0, 1)` and `z_t` bounds `-log p(x)`, and for the exact denoiser its mean
        over the data is their entropy. Both hold where `α_1 = 0`: of a schedule that leaves some signal
        (`log_linear` leaves ε), the bound's prior term is left out, as is usual.
        """
        return self.nelbo_weight(t) * self._cost_of(x, self.nelbo_cost, logits, z_t, t, where)

    def _cost_of(self, x, cost, logits, z_t, t, where):
        """A table of costs, read at the data, summed over positions: `(batch,)`."""

        def read(logits, z_t, t, x):
            return gather(cost(logits, z_t, t), x)

        if not isinstance(logits, Logits):
            return total(read(logits, z_t, t, x), where)
        return total(logits.each(read, z_t, t, x, where=self.where_open(z_t, where)))

    def where_open(self, z_t, where=None):
        """Positions that carry loss, of those in `where`: bool `(batch, length)`, or `None` for all."""
        if not self.absorbing:
            return where
        is_open = self.is_open(z_t)
        return is_open if where is None else ops.logical_and(is_open, where)

    def training_times(self, batch_size, seed):
        """Stratified times in `[ε, 1]`, `(batch,)`."""
        return self.times_of(random.stratified(batch_size, seed))

    def times_of(self, u):
        """Times in `[ε, 1]` of numbers in [0, 1)."""
        return self.time_epsilon + (1.0 - self.time_epsilon) * u

    # Serialisation --------------------------------------------------------------------------------

    def get_config(self):
        config = {
            "vocabulary_size": self.vocabulary_size,
            "schedule": keras.saving.serialize_keras_object(self.schedule),
        }
        return config if len(self.predictions) == 1 else {**config, "prediction": self.prediction}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        told = {name: repr(value) for name, value in self.get_config().items()}
        told["schedule"] = schedules.name_of(self.schedule)
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in told.items())})"
