"""The exact denoiser of a distribution small enough to enumerate."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class ExactDenoiser(layers.Layer):
    """Bayes' rule in place of a network: `E[x^l | z_t]`, or leave-one-out where the process wants that.

    Args:
        support: the sequences with mass, ids `(m, length)`.
        probabilities: their probabilities, `(m,)`.
        process: a `keras_dmmd.DiffusionProcess`.
        prompts: whether it is told which tokens are given, and so clean.
    """

    def __init__(self, support, probabilities, process, prompts=False, **kwargs):
        super().__init__(**kwargs)
        if isinstance(process, dict):
            process = keras.saving.deserialize_keras_object(process)
        self.support = np.asarray(support, "int32")
        self.probabilities = np.asarray(probabilities, "float64")
        self.process, self.prompts = process, prompts
        self.vocabulary_size, self.num_states = process.vocabulary_size, process.num_states
        self.built = True

    def call(self, z_t, t, known=None):
        return self.posterior_mean(z_t, t, self.support, 0.0, known)

    def posterior_mean(self, z_t, t, support, fits, known):
        """Log-probabilities `(batch, length, K)` over `support`, `(m, length)`.

        `fits`, `(batch, m, 1)`, is what else is known of each of its items, a log-likelihood.
        """
        alpha = ops.reshape(self.process.signal(t).alpha, (-1, 1, 1))
        same = ops.cast(ops.equal(z_t[:, None, :], support[None]), "float32")
        noise = ops.take_along_axis(self.process.noise(t), z_t, axis=-1)
        noise = (1.0 - alpha) * noise[:, None, :]
        if known is not None:
            known = ops.cast(known, "float32")[:, None, :]
            alpha, noise = ops.maximum(alpha, known), noise * (1.0 - known)
        # (batch, m, length); the floor keeps sequences that no support item explains comparable.
        log_likelihood = ops.log(ops.maximum(alpha * same + noise, 1e-30))
        log_prior = ops.convert_to_tensor(np.log(self.probabilities), "float32")[None, :, None]
        weights = log_prior + fits + ops.sum(log_likelihood, axis=-1, keepdims=True)
        if self.process.prediction == "loo":
            weights = weights - log_likelihood
        else:
            weights = weights + ops.zeros_like(log_likelihood)
        tokens = ops.one_hot(support, self.vocabulary_size, dtype="float32")
        probs = ops.einsum("bml,mlk->blk", ops.softmax(weights, axis=1), tokens)
        return ops.log(ops.maximum(probs, 1e-20))

    def compute_output_shape(self, z_t_shape, *args, **kwargs):
        return (*z_t_shape, self.vocabulary_size)

    def get_config(self):
        return {
            **super().get_config(),
            "support": self.support.tolist(),
            "probabilities": self.probabilities.tolist(),
            "process": keras.saving.serialize_keras_object(self.process),
            "prompts": self.prompts,
        }
