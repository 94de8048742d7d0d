"""Discrete consistency from data alone (MPDC, arXiv 2605.00161)."""

import keras
from keras import ops

from keras_dmmd import backend, checks, random
from keras_dmmd.distillation.beginnings import Beginning
from keras_dmmd.distillation.checks import check_models, check_same_network
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.losses.divergences import divergence_token_loss
from keras_dmmd.sampling.grids import MOST_CALLS
from keras_dmmd.tensors import certain, per_state, total
from keras_dmmd.training.corruption import batch_size_of, corrupt_batch
from keras_dmmd.training.optimizers import check_precision


@keras.saving.register_keras_serializable("keras_dmmd")
class MPDCDistiller(Distiller):
    """The student's prediction at `t` is, on average, its own prediction at an earlier `s`.

    Real data x are corrupted to `z_t`, and taken back to `s < t` by the exact posterior of x; there the
    student's moving average predicts, and the student at `t` follows:

        min KL( sg f̄(z_s, s) ‖ f(z_t, t) ),   z_t ~ q(z_t | x),   z_s ~ q(z_s | z_t, x),   f(z_0, 0) = x

    Since `x → z_s → z_t` is a Markov chain, `f(z_t, t) = E[x | z_t]` is the fixed point: predictions of
    a longer step that agree with those of shorter ones. There is no critic, and no teacher in the loss;
    that is where student and average begin. As with any prediction that is a product over positions,
    tokens of one call do not agree with each other.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is.
        student: a copy of the teacher by default; without a random input.
        average: the model of the moving average, a copy of the student by default: part of the state.
        adapters: a rank, for a student of low-rank adapters beside the teacher's weights, see
            `DMMDDistiller`.
        steps: the network calls per sample of the student; `t - s` is drawn from `U(0, 1 / steps)`, and
            `s` is 0 where less is left.
        momentum: of the moving average, a share per round.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.MPDCDistiller(teacher, steps=8)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=8, seed=0)  # (16, 64)
    ```

    Logs: `student_loss` (nats per token) and `student_grad_norm`.

    Departures from the paper, whose tables of settings are not public: how `s` and `t` are drawn, a
    constant weight of time, the momentum and the optimizer are ours.

    Reference:
        - [MPDC, also CDLM](https://arxiv.org/abs/2605.00161)
    """

    roles = ("student",)

    def __init__(
        self,
        teacher,
        student=None,
        average=None,
        adapters=None,
        steps=8,
        momentum=0.99,
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, average=average)
        steps = checks.count("steps", steps, most=MOST_CALLS)
        momentum = checks.number("momentum", momentum, below=1.0)
        seed = checks.integer("seed", seed)
        start = Beginning(teacher, steps, adapters=adapters, seed=seed)
        student = start.plain_student(student, type(self).__name__)
        average = average or student.copy(seed=seed + 4, name="average")
        check_same_network(student, average=average)
        check_precision("MPDCDistiller", average.trainable_variables)
        super().__init__(teacher, student, seed=seed, **kwargs)
        self.average = average
        self.steps, self.momentum = steps, momentum

    def role_losses(self, role, inputs, key):
        time_key, gap_key, corrupt_key, student_key, step_key = random.split(key, 5)
        batch_size = batch_size_of(inputs)
        t = self.process.training_times(batch_size, time_key)
        s = ops.maximum(t - random.uniform((batch_size,), gap_key) / self.steps, 0.0)
        x, z_t, _, conditions = corrupt_batch(self.teacher, inputs, t, corrupt_key)
        shown, student_key = self.student.self_condition(z_t, t, conditions, student_key)
        student = self.student.deferred_logits(z_t, t, shown, seed=student_key)
        with backend.no_gradient():
            z_s = conditions.place(self.process.sample_posterior(x, z_t, s, t, step_key))
            average = self.average.deferred_logits(z_s, s, conditions)

        def values(student, average, x, z_t, t, z_s, s):
            with backend.no_gradient():
                target = self.process.log_mean(average, z_s, s)
                known = certain(x, self.process.vocabulary_size)
                target = ops.where(per_state(s) > 0, target, known)
            return divergence_token_loss(self.process.log_mean(student, z_t, t), target)

        where = self.process.where_open(z_t, conditions.unknown)
        losses = student.each(values, average, x, z_t, t, z_s, s, where=where)
        return total(losses) / z_t.shape[1], {}

    def end_round(self):
        """The average moves on."""
        for own, other in zip(self.average.weights, self.student.weights, strict=True):
            # Integers, of what is quantised, are the student's own for good: they have no mean.
            if keras.backend.is_float_dtype(own.dtype):
                own.assign_add((1.0 - self.momentum) * (other - own))

    def get_config(self):
        return {
            **super().get_config(),
            "average": keras.saving.serialize_keras_object(self.average),
            "steps": self.steps,
            "momentum": self.momentum,
        }
