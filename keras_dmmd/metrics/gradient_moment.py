"""The gradient moment: do samples move a reference model the way that data do?"""

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.fingerprints import array_hash
from keras_dmmd.metrics.streaming import Note, StreamingMetric

NAME = "gradient_moment"


class GradientMoment(StreamingMetric):
    """`‖E_g[∇ log p] - E_q[∇ log p]‖²`, over the weights of a reference model p.

    A model that fits its data feels no pull from more of the same: the mean gradient of `log p` at data
    is about that at other data. Samples that differ in anything that the model knows of pull, also ones
    that it finds likely: one good row repeated has a low perplexity and a large gradient moment.

    Samples `g` and data `q` are split in independent halves, so the estimate
    `⟨∇(g1) - ∇(q1), ∇(g2) - ∇(q2)⟩` has no bias, and may be negative. Each `update_state` gives `pairs`
    such numbers; the standard error is theirs. Only figures of one reference, of one length and of one
    number of weights compare; a reference that made the samples says nothing.

    The memory it takes is that of four gradients and of one more batch's, however many samples there
    are: a half's gradient is summed batch by batch. Products are summed in float64.

    Args:
        reference: has `log_likelihood(tokens)`, nats per token `(batch,)`, and the weights that it is
            differentiated by as `trainable_variables`, its own or those of its `model`: a
            `CausalReference` for instance.
        pairs: independent estimates an update, for a standard error within it.
        batch_size: sequences of one gradient.
        name: of the metric; another one than the default stands before the names of its figures.

    `result()` has `"centered"`, the above, `"uncentered_samples"`, `⟨∇(g1), ∇(g2)⟩`, and
    `"uncentered_data"`, `⟨∇(q1), ∇(q2)⟩`, each with a standard error, `"centered_error"` and so on.

    Example:

    ```python
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    student = kd.from_preset("sotu_chars_student")
    speeches = student.tokenizer.encode("we the people of the united states " * 64)[:1024]
    metric = kd.metrics.GradientMoment(judge)
    metric.update_state(student.generate(8, steps=8, seed=0), speeches.reshape(8, 128))
    metric.result()["centered"]
    ```

    Reference:
        - [Discrete Moment Matching Distillation](https://arxiv.org/abs/2603.20155)
    """

    def __init__(self, reference, pairs=1, batch_size=32, name=NAME):
        super().__init__(name=name)
        owner = reference if hasattr(reference, "trainable_variables") else None
        owner = owner or getattr(reference, "model", None)
        if not callable(getattr(reference, "log_likelihood", None)) or owner is None:
            raise ValueError(
                "`reference` must have `log_likelihood(tokens)`, and `trainable_variables` or a "
                "`model`, as a keras_dmmd.metrics.CausalReference has. "
                f"Received: {checks.shown(reference)}"
            )
        self.reference, self.pairs = reference, checks.count("pairs", pairs)
        self.batch_size = checks.count("batch_size", batch_size)
        self.judge = owner if isinstance(owner, keras.Model) else None
        self._variables = list(owner.trainable_variables)
        if not self._variables:
            raise ValueError("The reference model has no trainable weights to differentiate.")
        every = getattr(owner, "variables", self._variables)
        self._compiled = backend.compile_inference(self._of_batch, every, backend.COMPILES)

    def get_config(self):
        return {**super().get_config(), "pairs": self.pairs, "batch_size": self.batch_size}

    def fingerprint(self):
        weights = (backend.to_numpy(v.value) for v in self._variables)
        return [*super().fingerprint(), array_hash(*weights)]

    def _of_batch(self, tokens, weights):
        """The gradient of the weighted sum of log-likelihoods, float32, an array a variable."""

        def weighted():
            return ops.sum(weights * self.reference.log_likelihood(tokens)), None

        _, gradients = backend.value_and_grad(weighted, self._variables)
        return [ops.cast(gradient, "float32") for gradient in gradients]

    def _gradient(self, tokens):
        """Of the mean log-likelihood of a half."""
        size, total = min(self.batch_size, len(tokens)), None
        for start in range(0, len(tokens), size):
            rows = tokens[start : start + size]
            # The last batch is filled up with rows that count for nothing.
            weights = np.where(np.arange(size) < len(rows), 1.0 / len(tokens), 0.0)
            rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])
            new = self._compiled(
                ops.convert_to_tensor(rows), ops.convert_to_tensor(weights.astype("float32"))
            )
            total = new if total is None else [a + b for a, b in zip(total, new, strict=True)]
        return total

    def notes(self):
        text = "about 0 where samples are like data in all that the reference knows"
        found = {"centered": Note(text, title="gradient moment")}
        found |= {name: Note(chart=False) for name in ("uncentered_samples", "uncentered_data")}
        return {self._prefix + name: note for name, note in found.items()}

    @property
    def _prefix(self):
        """What stands before the names of figures: nothing under the metric's own name."""
        return "" if self.name == NAME else f"{self.name}_"

    def check(self, samples, length, has_data):
        if not has_data:
            raise ValueError(
                f"{self.name} compares with data: give `data`, in a sweep `reference_data`."
            )
        self._check_number("samples", samples)

    def _check_number(self, name, number):
        parts = 2 * self.pairs
        if number % parts or not number:
            what = "even, for two halves" if parts == 2 else f"a multiple of {parts}, for their halves"
            raise ValueError(f"`{name}` must be {what}. Received: {number}")

    def update_state(self, samples, data):
        """Add samples and data, ids of the reference `(n, length)`, n a multiple of twice `pairs`.

        Raises:
            ValueError: they are not, or differ in length.
        """
        samples = checks.rows("samples", samples)
        if data is None:
            self.check(len(samples), None, False)
        parts = []
        for name, tokens in (("samples", samples), ("data", data)):
            tokens = checks.rows(name, tokens, at_least=2)
            self._check_number(name, len(tokens))
            self._check_vocabulary(name, tokens)
            parts.append(np.split(tokens.astype("int32"), 2 * self.pairs))
        g, q = parts
        if g[0].shape[1] != q[0].shape[1]:
            raise ValueError(
                "Samples and data must have one length: the moment depends on it. "
                f"Received: {g[0].shape[1]} and {q[0].shape[1]} tokens"
            )
        for i in range(0, 2 * self.pairs, 2):
            products = self._products(*map(self._gradient, (g[i], q[i], g[i + 1], q[i + 1])))
            self.gather(**{self._prefix + name: value for name, value in products.items()})

    def _check_vocabulary(self, name, tokens):
        size = getattr(getattr(self.reference, "tokenizer", None), "vocabulary_size", None)
        if tokens.min() < 0 or (size is not None and tokens.max() >= size):
            raise ValueError(
                f"`{name}` must be ids of the reference's own vocabulary, 0 to "
                f"{'…' if size is None else size - 1}. Received: {tokens.min()} to {tokens.max()}"
            )

    def _products(self, g1, q1, g2, q2):
        """Inner products of whole gradients, variable by variable in float64."""
        products = {"centered": 0.0, "uncentered_samples": 0.0, "uncentered_data": 0.0}
        for parts in zip(g1, q1, g2, q2, strict=True):
            a1, b1, a2, b2 = (backend.to_numpy(x).astype("float64").ravel() for x in parts)
            products["centered"] += float((a1 - b1) @ (a2 - b2))
            products["uncentered_samples"] += float(a1 @ a2)
            products["uncentered_data"] += float(b1 @ b2)
        return products
