"""The gradient moment: do samples move a reference model the way that data do?"""

import numpy as np
from keras import ops

from keras_dmmd import backend
from keras_dmmd.metrics.diversity import check_ids
from keras_dmmd.metrics.streaming import StreamingMetric, weights_hash


class GradientMoment(StreamingMetric):
    """`‖E_g[∇ log p] - E_q[∇ log p]‖²`, over the weights of a reference model p.

    A model that fits its data feels no pull from more of the same: the mean gradient of `log p` at data
    is about that at other data. Samples that differ in anything that the model knows of pull, also ones
    that it finds likely: one good row repeated has a low perplexity and a large gradient moment.

    Samples `g` and data `q` are split in independent halves, so the estimate
    `⟨∇(g1) - ∇(q1), ∇(g2) - ∇(q2)⟩` has no bias, and may be negative. Each `update_state` gives one
    such number; the standard error is theirs. Only figures of one reference, of one length and of one
    number of weights compare; a reference that made the samples says nothing.

    Args:
        reference: has `log_likelihood(tokens)`, nats a token `(batch,)`, and `model`, whose trainable
            weights are differentiated: a `CausalReference` for instance.
        name: of the metric.

    `result()` has `"centered"`, the above, `"uncentered_samples"`, `⟨∇(g1), ∇(g2)⟩`, and
    `"uncentered_data"`, `⟨∇(q1), ∇(q2)⟩`, each with a standard error, `"centered_error"` and so on.

    Reference:
        - [Discrete Moment Matching Distillation](https://arxiv.org/abs/2603.20155)
    """

    def __init__(self, reference, name="gradient_moment"):
        super().__init__(name=name)
        if not callable(getattr(reference, "log_likelihood", None)):
            raise ValueError(
                "`reference` must have `log_likelihood(tokens)` and `model`, as a "
                f"keras_dmmd.metrics.CausalReference has. Received: {reference!r}"
            )
        variables = reference.model.trainable_variables
        if not variables:
            raise ValueError("The reference model has no trainable weights to differentiate.")
        self.reference = reference

        def moments(*halves):
            """The products of the gradients of four halves, float32 scalars."""
            g1, q1, g2, q2 = (self._gradient(half, variables) for half in halves)
            shift1 = [a - b for a, b in zip(g1, q1, strict=True)]
            shift2 = [a - b for a, b in zip(g2, q2, strict=True)]
            pairs = ((shift1, shift2), (g1, g2), (q1, q2))
            return [[ops.sum(a * b) for a, b in zip(*pair, strict=True)] for pair in pairs]

        self._moments = backend.compile_inference(moments, reference.model.variables, backend.COMPILES)

    def fingerprint(self):
        return [self.name, weights_hash(self.reference.model)]

    def _gradient(self, tokens, variables):
        def mean_log_likelihood():
            return ops.mean(self.reference.log_likelihood(tokens)), None

        _, gradients = backend.value_and_grad(mean_log_likelihood, variables)
        return [ops.cast(gradient, "float32") for gradient in gradients]

    def update_state(self, samples, data):
        """Add samples and data, ids of the reference `(n, length)` with n even.

        Raises:
            ValueError: they are not, or n differs between them in length.
        """
        halves = []
        for name, tokens in (("samples", samples), ("data", data)):
            tokens = check_ids(tokens, name, at_least=2)
            if len(tokens) % 2:
                raise ValueError(f"`{name}` must be even, for two halves. Received: {len(tokens)}")
            halves.append(np.split(tokens.astype("int32"), 2))
        (g1, g2), (q1, q2) = halves
        if g1.shape[1] != q1.shape[1]:
            raise ValueError(
                "Samples and data must have one length: the moment depends on it. "
                f"Received: {g1.shape[1]} and {q1.shape[1]} tokens"
            )
        products = self._moments(*(ops.convert_to_tensor(half) for half in (g1, q1, g2, q2)))
        sums = [sum(float(ops.convert_to_numpy(part)) for part in parts) for parts in products]
        names = ("centered", "uncentered_samples", "uncentered_data")
        self.gather(**dict(zip(names, sums, strict=True)))
