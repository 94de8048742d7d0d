"""Self-Distillation Through Time (SDTT, arXiv 2410.21035)."""

import keras
from keras import ops

from keras_dmmd import backend, checks, random
from keras_dmmd.distillation.beginnings import Beginning
from keras_dmmd.distillation.checks import (
    check_absorbing,
    check_models,
    check_same_network,
)
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.distillation.proposals import drawn_tokens
from keras_dmmd.distillation.rounds import CountedRounds
from keras_dmmd.losses.divergences import DIRECTIONS, divergence_token_loss
from keras_dmmd.sampling.grids import MOST_CALLS
from keras_dmmd.tensors import total
from keras_dmmd.training.corruption import batch_size_of, corrupt_batch


@keras.saving.register_keras_serializable("keras_dmmd")
class SDTTDistiller(CountedRounds, Distiller):
    """One step of the student does what two steps of its tutor do; then the student is the tutor.

    From `z_t` the tutor takes two ancestral steps, each half as long as the student's:

        z_{t'} ~ q(z_{t'} | z_t, x ~ x̂_tutor(z_t, t)),   t' = t - γ/2

    Wherever the first step opened a token, the target is the tutor's prediction at `(z_t, t)`, which
    the token was drawn from; elsewhere it is its next one, at `(z_{t'}, t')`. The student's one
    prediction at `(z_t, t)` matches that by their KL, over masked positions. After `rounds_per_stage`
    rounds the student's weights become the tutor's and γ doubles, `stages` times in all. The student's
    prediction is a product over positions: it cannot make tokens of one call agree.

    For masked diffusion only. There is no critic.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is; the first tutor has its
            weights.
        student: a copy of the teacher by default; it must have the teacher's network, and no random
            input.
        tutor: the model that the student follows, `teacher.copy()` by default: part of the state.
        adapters: a rank, for a student of low-rank adapters beside the teacher's weights, see
            `DMMDDistiller`.
        steps: the network calls per sample of the student that the last stage ends with: γ is then
            `1 / steps`, and `1 / (steps · 2^(stages - 1))` in the first.
        stages: how often the number of calls is halved, 7 in the paper (which says round).
        rounds_per_stage: `train_step`s before each halving, 10,000 in the paper. After the last stage
            training goes on in it.
        divergence: `"reverse"`, `KL(student ‖ target)`, as in the released settings, or `"forward"`.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.SDTTDistiller(teacher, steps=8, stages=3, rounds_per_stage=200)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=8, seed=0)  # (16, 64)
    ```

    Logs: `student_loss` (nats per token), `stage` (from 0), `student_grad_norm`.

    Departures from the paper: near `t = 0`, where less than γ is left, the tutor's steps are halves of
    what is left (the released code interpolates its times otherwise; a slip, by the paper's formula).
    The loss is a sum over masked positions, divided by the length. A stage begins with the student's
    weights, not with their moving average, and with the optimizer as it is. The optimizer by default is
    that of every method here; published are AdamW without decay at 6e-5 to 3e-4, batches of 128 and an
    EMA of 0.9999.

    Reference:
        - [Beyond Autoregression: Fast LLMs via Self-Distillation Through Time](
          https://arxiv.org/abs/2410.21035)
    """

    roles = ("student",)
    statistics = ("stage",)

    def __init__(
        self,
        teacher,
        student=None,
        tutor=None,
        adapters=None,
        steps=8,
        stages=7,
        rounds_per_stage=10_000,
        divergence="reverse",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, tutor=tutor)
        check_absorbing(type(self).__name__, teacher.process)
        steps = checks.count("steps", steps, most=MOST_CALLS)
        stages = checks.count("stages", stages, most=30)
        rounds_per_stage = checks.count("rounds_per_stage", rounds_per_stage)
        checks.choice("divergence", divergence, DIRECTIONS)
        seed = checks.integer("seed", seed)
        copied = student is None
        start = Beginning(teacher, steps, adapters=adapters, seed=seed)
        student = start.plain_student(student, type(self).__name__)
        # A copy of the student, where that is a copy of the teacher, has its adapters, too.
        tutor = tutor or (student if copied else teacher).copy(seed=seed + 4, name="tutor")
        check_same_network(student, tutor=tutor)
        super().__init__(teacher, student, seed=seed, **kwargs)
        self.tutor = tutor
        self.steps, self.stages, self.rounds_per_stage = steps, stages, rounds_per_stage
        self.divergence = divergence
        self.count_rounds()

    def role_losses(self, role, inputs, key):
        time_key, corrupt_key, student_key, tutor_key = random.split(key, 4)
        t = self.process.training_times(batch_size_of(inputs), time_key)
        _, z_t, _, conditions = corrupt_batch(self.teacher, inputs, t, corrupt_key)
        stage = ops.minimum(self.rounds // self.rounds_per_stage, self.stages - 1)
        stage = ops.cast(stage, "float32")
        reach = ops.minimum(t, 2.0 ** (stage + 1.0 - self.stages) / self.steps)
        shown, student_key = self.student.self_condition(z_t, t, conditions, student_key)
        student = self.student.deferred_logits(z_t, t, shown, seed=student_key)
        with backend.no_gradient():
            calls = self._tutor_calls(z_t, t, t - 0.5 * reach, conditions, tutor_key)

        def values(student, first, second, z_s):
            with backend.no_gradient():
                first, second = (ops.log_softmax(x, axis=-1) for x in (first, second))
                is_open = ops.expand_dims(self.process.is_open(z_s), -1)
                target = ops.where(is_open, second, first)
            student = ops.log_softmax(student, axis=-1)
            return divergence_token_loss(student, target, self.divergence)

        where = self.process.where_open(z_t, conditions.unknown)
        losses = total(student.each(values, *calls, where=where))
        return losses / z_t.shape[1], {"stage": stage}

    def _tutor_calls(self, z_t, t, s, conditions, key):
        """The tutor's `Logits` at `z_t`, and at `z_s` one of its steps later, and that `z_s`."""
        x_key, step_key = random.split(key, 2)
        first = self.tutor.deferred_logits(z_t, t, conditions)
        x, _ = drawn_tokens(self.process, first, z_t, t, x_key)
        z_s = conditions.place(self.process.sample_posterior(x, z_t, s, t, step_key))
        return first, self.tutor.deferred_logits(z_s, s, conditions), z_s

    def end_round(self):
        """The end of a stage, where it is one: the tutor's weights become the student's."""
        super().end_round()
        is_end = ops.logical_and(
            ops.equal(self.rounds % self.rounds_per_stage, 0),
            self.rounds < self.stages * self.rounds_per_stage,
        )
        for own, other in zip(self.tutor.weights, self.student.weights, strict=True):
            own.assign(ops.where(is_end, other.value, own.value))

    def get_config(self):
        return {
            **super().get_config(),
            "tutor": keras.saving.serialize_keras_object(self.tutor),
            "steps": self.steps,
            "stages": self.stages,
            "rounds_per_stage": self.rounds_per_stage,
            "divergence": self.divergence,
        }
