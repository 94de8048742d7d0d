"""The contract of a forward process; the mathematics that every process shares."""

import numbers

import keras
from keras import ops

from keras_dmmd import random, schedules


def per_token(values):
    """`(batch,)` to `(batch, 1)`, so that a value of an example meets every token of it."""
    return ops.expand_dims(values, -1)


def gather(table, tokens):
    """`table[..., tokens]`: `(batch, length, K)` and `(batch, length)` to `(batch, length)`."""
    picked = ops.take_along_axis(table, ops.expand_dims(ops.cast(tokens, "int32"), -1), axis=-1)
    return ops.squeeze(picked, axis=-1)


def total(values, where=None):
    """The sum over positions, `(batch,)`, of `(batch, length)` values, or of those `where` is true."""
    if where is not None:
        values = ops.where(where, values, 0.0)
    return ops.sum(values, axis=-1)


class DiffusionProcess:
    """A corruption of tokens in continuous time, `q(z_t | x) = Cat(α_t x + (1 - α_t) π)`.

    A process says how to corrupt, and turns a network's logits into everything that training,
    distillation and sampling need; it holds no weights. To add one, subclass and write `corrupt`,
    `prior`, `posterior`, `sample_posterior`, `cost`, `nelbo` and, where a prediction is not
    `E[x | z_t]` as it stands, `log_mean`.

    Args:
        vocabulary_size: K, the number of clean tokens, `0 .. K - 1`.
        schedule: a name or a schedule object, see `keras_dmmd.schedules`.

    Attributes:
        vocabulary_size: K.
        num_states: the number of ids that a corrupted token can have.
        predictions: the accepted meanings of a network's output.
        prediction: the one in use, `"mean"` or `"loo"`.
        needs_noise: whether a one-step student needs a random input of its own.
        shows_known: whether a clean token among corrupted ones can be told from them.
        soft_target: whether a soft critic target is sound for this process.
        renoise: what `DMMDDistiller` takes for `"auto"`, by `benchmarks/toy.py`.
    """

    predictions = ("mean",)
    prediction = "mean"
    needs_noise = False
    shows_known = False
    soft_target = False
    renoise = "mixed"
    # Weights and posteriors have poles at the ends of time: training times stay this far inside.
    time_epsilon = 1e-4

    def __init__(self, vocabulary_size, schedule="linear"):
        if not isinstance(vocabulary_size, numbers.Integral) or vocabulary_size < 2:
            raise ValueError(
                "`vocabulary_size` must be an integer of at least 2. "
                f"Received: vocabulary_size={vocabulary_size!r}"
            )
        self.vocabulary_size = int(vocabulary_size)
        self.schedule = schedules.get(schedule)

    @property
    def num_states(self):
        return self.vocabulary_size

    def signal(self, t):
        """α and α' at `t`, `(batch,)` each, float32."""
        return self.schedule(ops.cast(t, "float32"))

    def corrupt(self, x, t, seed):
        """`z_t ~ q(z_t | x)`: ids `(batch, length)` at times `(batch,)`."""
        raise NotImplementedError

    def prior(self, shape, seed):
        """`z_1`: ids of the given shape, `(batch, length)`."""
        raise NotImplementedError

    def posterior(self, x, z_t, s, t):
        """`q(z_s | z_t, x)` for `s <= t`, probabilities `(batch, length, num_states)`.

        Args:
            x: ids `(batch, length)`, or a prediction as probabilities `(batch, length, K)` with the
                meaning that `prediction` names.
            z_t: ids `(batch, length)`.
            s, t: times `(batch,)`.
        """
        raise NotImplementedError

    def sample_posterior(self, x, z_t, s, t, seed):
        """`z_s ~ q(z_s | z_t, x)` for ids `x`, without building the table over all states."""
        raise NotImplementedError

    def is_open(self, z_t):
        """Which tokens are to be predicted, and so carry loss: bool `(batch, length)`."""
        return ops.ones_like(z_t, dtype="bool")

    def weight(self, t):
        """The NELBO's weight of time, `(batch,)`: `nelbo = weight · cost` where they differ by it."""
        alpha, derivative = self.signal(t)
        return -derivative / ops.maximum(1.0 - alpha, self.time_epsilon)

    def log_mean(self, logits, z_t, t):
        """`log E[x | z_t]`, normalised, `(batch, length, K)`: what an ancestral step draws from."""
        del z_t, t
        return ops.log_softmax(ops.cast(logits, "float32"), axis=-1)

    def cost(self, logits, z_t, t):
        """The diffusion loss of every possible clean token, `(batch, length, K)`, before `weight`.

        `cost[b, l, k]` is the loss at position `l` if the clean token there is `k`. Training reads
        it at the data, moment matching averages it over a prediction: one table serves both.
        """
        raise NotImplementedError

    def loss(self, logits, x, z_t, t, where=None):
        """The training loss of each example, `(batch,)`, summed over positions, or those in `where`."""
        return self.weight(t) * total(gather(self.cost(logits, z_t, t), x), where)

    def nelbo(self, logits, x, z_t, t, where=None):
        """The integrand of the negative ELBO at `t`, `(batch,)` nats, summed over positions.

        `where`, bool `(batch, length)`, leaves out positions that are given.

        Its mean over `t ~ U(0, 1)` and `z_t` bounds `-log p(x)`, and for the exact denoiser its mean
        over the data is their entropy. Both hold where `α_1 = 0`: of a schedule that leaves some signal
        (`log_linear` leaves ε), the bound's prior term is left out, as is usual.
        """
        raise NotImplementedError

    def training_times(self, batch_size, seed):
        """Stratified times in `[ε, 1]`, `(batch,)`."""
        u = random.stratified(batch_size, seed)
        return self.time_epsilon + (1.0 - self.time_epsilon) * u

    def get_config(self):
        return {
            "vocabulary_size": self.vocabulary_size,
            "schedule": keras.saving.serialize_keras_object(self.schedule),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        return (
            f"{type(self).__name__}(vocabulary_size={self.vocabulary_size}, "
            f"schedule={type(self.schedule).__name__}, prediction={self.prediction!r})"
        )
