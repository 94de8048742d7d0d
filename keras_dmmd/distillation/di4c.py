"""Distillation through dimensional correlations (Di4C, arXiv 2410.08709)."""

import keras
from keras import ops

from keras_dmmd import backend, checks, random
from keras_dmmd.distillation.beginnings import Beginning, is_auto
from keras_dmmd.distillation.checks import check_models
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.losses.divergences import divergence_token_loss
from keras_dmmd.losses.mixtures import correlation_loss, log_mean_exp, marginal_loss
from keras_dmmd.sampling.grids import MOST_CALLS
from keras_dmmd.tensors import LOG_FLOOR, mean_where, total
from keras_dmmd.training.corruption import batch_size_of, corrupt_batch


@keras.saving.register_keras_serializable("keras_dmmd")
class Di4CDistiller(Distiller):
    """The student is a mixture, over a random number λ that it is told, and so its tokens can agree.

        p_t(x | z_t) = E_λ Π_l p(x^l | z_t, t, λ)

    Three losses on data that are corrupted to `z_t`, with N draws of λ for each of them:

    - **Distillation**, where `t < δ`: `E_λ Σ_l KL(x̂_θ^l(z_t, t) ‖ p^l(z_t, t, λ))`. In so little time
      the teacher's product over positions is right.
    - **Consistency**, elsewhere: the teacher takes one of its own steps, `z_u ~ q(z_u | z_t, x ~ x̂_θ)`
      with `u = t - min(1/T, t/2)`; from there the student, as it stands, draws `x_0 ~ p_u(· | z_u)`. It
      should do so from `z_t` in one step, too: `-log p_t(x_0 | z_t)`.
    - **Data**, everywhere, with a small weight: `-log p_t(x | z_t)`.

    The logarithms of mixtures have a control variate, see `keras_dmmd.losses.mixture_loss`. There is no
    critic. λ is the student's random input, and fresh at each step of `generate`.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is.
        student: a copy of the teacher by default; it needs a random input.
        adapters: a rank, for a student of low-rank adapters beside the teacher's weights, see
            `DMMDDistiller`.
        steps: the network calls per sample that `generate` makes by default; the loss does not depend
            on them.
        teacher_steps: T, how many steps the teacher needs; by default those that it is sampled with.
        mixture: N, the draws of λ for each example, at least 2.
        delta: δ, below which the teacher is followed.
        delta_rate: the share of examples with `t < δ`.
        data_weight: of the loss on data.
        noise: the student's random input when it is copied: `"scalar"` is the paper's λ, one number for
            a sequence; others make mixtures of more parts.
        noise_scale: how strongly it acts before the first round.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.Di4CDistiller(teacher, steps=4, teacher_steps=16)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=4, seed=0)  # (16, 64)
    ```

    Logs: `student_loss` (nats per token); `correlation`, nats per token by which the mixture finds data
    likelier than its own marginals do, negated: below 0 it has learned that tokens agree; and
    `student_grad_norm`.

    Departures from the paper: λ enters by waves into the token embeddings; which of the first two
    losses an example has is drawn for each example and not for the batch; both parts of the loss on
    data have the small weight, of which the released code gives the second part the weight 1. A table
    over all words is made for each draw of λ: vocabularies are not cut into tiles. The optimizer by
    default is that of every method here; published are Adam at 2e-4 (images) and 1e-5 (MaskGIT),
    batches of 128 and an EMA of 0.9999.

    Reference:
        - [Distillation of Discrete Diffusion through Dimensional Correlations](
          https://arxiv.org/abs/2410.08709)
    """

    roles = ("student",)
    statistics = ("correlation",)

    def __init__(
        self,
        teacher,
        student=None,
        adapters=None,
        steps=4,
        teacher_steps=None,
        mixture=4,
        delta=0.02,
        delta_rate=0.3,
        data_weight=0.001,
        noise="auto",
        noise_scale="auto",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student)
        steps = checks.count("steps", steps, most=MOST_CALLS)
        if teacher_steps is not None:
            teacher_steps = checks.count("teacher_steps", teacher_steps, most=MOST_CALLS)
        mixture = checks.count("mixture", mixture, least=2)
        delta = checks.number("delta", delta, above=0.0, below=1.0)
        delta_rate = checks.number("delta_rate", delta_rate, high=1.0)
        data_weight = checks.number("data_weight", data_weight)
        seed = checks.integer("seed", seed)
        if student is None and is_auto(noise):
            noise = "scalar"
        student = Beginning(teacher, steps, noise, noise_scale, adapters, seed).student(student)
        if not student.capabilities.noise:
            raise ValueError(
                "Di4CDistiller needs a student with a random input, which tells it the part of the "
                'mixture: `teacher.copy(noise="scalar")`.'
            )
        super().__init__(teacher, student, seed=seed, **kwargs)
        self.steps, self.mixture = steps, mixture
        self.teacher_steps = teacher.steps if teacher_steps is None else teacher_steps
        self.delta, self.delta_rate, self.data_weight = delta, delta_rate, data_weight

    def role_losses(self, role, inputs, key):
        time_key, coin_key, corrupt_key, student_key, target_key = random.split(key, 5)
        batch_size = batch_size_of(inputs)
        t = self.process.training_times(batch_size, time_key)
        is_small = random.uniform((batch_size,), coin_key) < self.delta_rate
        t = ops.where(is_small, t * self.delta, self.delta + (1.0 - self.delta) * t)
        x, z_t, _, conditions = corrupt_batch(self.teacher, inputs, t, corrupt_key)
        where = self.process.where_open(z_t, conditions.unknown)
        shown, student_key = self.student.self_condition(z_t, t, conditions, student_key)
        parts = [
            self._log_probs(self.student, z_t, t, shown, key)
            for key in random.split(student_key, self.mixture)
        ]
        student = ops.stack(parts)
        with backend.no_gradient():
            teacher = self._log_probs(self.teacher, z_t, t, conditions)
            x_0, law = self._targets(teacher, z_t, t, conditions, target_key)
        followed = sum(total(divergence_token_loss(one, teacher), where) for one in parts)
        of_samples = sum(correlation_loss(student, one, where) for one in x_0) / self.mixture
        consistent = of_samples + marginal_loss(student, law, where)
        correlation = correlation_loss(student, x, where)
        data = correlation + marginal_loss(student, teacher, where)
        losses = ops.where(is_small, followed / self.mixture, consistent) + self.data_weight * data
        length, every = z_t.shape[1], ops.ones_like(correlation, dtype="bool")
        return losses / length, {"correlation": mean_where(every, correlation) / length}

    def _log_probs(self, model, z_t, t, conditions, key=None):
        """A model's prediction, `(batch, length, K)`, no less than the floor of logarithms."""
        logits = model.logits(z_t, t, conditions, seed=key)
        return ops.maximum(self.process.log_mean(logits, z_t, t), LOG_FLOOR)

    def _targets(self, teacher, z_t, t, conditions, key):
        """A list of samples `x_0`, each after a step of the teacher, and their log-marginals."""
        u = t - ops.minimum(1.0 / self.teacher_steps, 0.5 * t)
        found, laws = [], []
        for part_key in random.split(key, self.mixture):
            x_key, step_key, noise_key, draw_key = random.split(part_key, 4)
            x = random.categorical(teacher, x_key)
            z_u = conditions.place(self.process.sample_posterior(x, z_t, u, t, step_key))
            laws.append(self._log_probs(self.student, z_u, u, conditions, noise_key))
            found.append(conditions.place(random.categorical(laws[-1], draw_key)))
        return found, log_mean_exp(ops.stack(laws))

    def get_config(self):
        return {
            **super().get_config(),
            "steps": self.steps,
            "teacher_steps": self.teacher_steps,
            "mixture": self.mixture,
            "delta": self.delta,
            "delta_rate": self.delta_rate,
            "data_weight": self.data_weight,
        }
