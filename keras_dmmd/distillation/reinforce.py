"""Distribution matching by policy gradients (Reinforce-DMD, arXiv 2609.40235)."""

import keras
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.distillation.beginnings import Beginning, default_renoise, default_times
from keras_dmmd.distillation.calls import read_steps
from keras_dmmd.distillation.checks import check_models, check_time_weighting
from keras_dmmd.distillation.critics import TIME_WEIGHTING, CriticLosses
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.distillation.proposals import RENOISE, TIMES, Proposals, first_rows
from keras_dmmd.losses.divergences import divergence_token_loss
from keras_dmmd.losses.policy_gradient import policy_gradient_loss
from keras_dmmd.tensors import gather, total


@keras.saving.register_keras_serializable("keras_dmmd")
class ReinforceDistiller(CriticLosses, Proposals, Distiller):
    """The student is rewarded for samples that the teacher finds likelier than its critic does.

    Data are corrupted to `z_t`; of the student's prediction p, G samples `x_g` are drawn, each
    corrupted again to its own `z_s`. What they are worth is what critic φ and teacher θ say of them,

        R_g = Σ_l log x̂_θ^l(x_g | z_s) - log x̂_φ^l(x_g | z_s)

    over the positions of `z_s` that carry loss, and the student's loss is

        -1/G Σ_g [R_g - mean of R of the others] log p(x_g | z_t)  +  anchor · KL(x̂_θ(z_t, t) ‖ p)

    So whole samples are judged, not tokens one by one; the anchor to the teacher's prediction at `z_t`
    keeps the student from a single mode. The critic is trained on the samples, `critic_steps` times.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is.
        student, critic: copies of the teacher by default, the student with a random input.
        adapters: a rank, for a student and critic of low-rank adapters beside the teacher's weights,
            see `DMMDDistiller`.
        steps: k, the network calls per sample of the student, or a pair, as in `DMMDDistiller`.
        times: at which the student is asked, as in `DMMDDistiller`.
        samples: G, the samples of each prediction, at least 2; 4 in the paper.
        anchor: of the KL to the teacher; 0.5 in the paper, which sees a collapse without.
        critic_steps: critic updates per student update; 4 in the paper.
        renoise: how samples go to `s`, as in `DMMDDistiller`.
        time_weighting: of rewards and the critic's loss, as in `DMMDDistiller`.
        noise, noise_scale: the student's random input when it is copied, as in `DMMDDistiller`.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.ReinforceDistiller(teacher, steps=8)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=8, seed=0)  # (16, 64)
    ```

    Logs: those of `DMMDDistiller`; `student_loss` is `-mean R + anchor · KL`, in nats per token.

    Departures from the paper: its critic is told the student's `t`, ours is told `1/k`, and only where
    `steps` is a pair; times and renoising are those of `DMMDDistiller`. Which way its KL goes is not
    known to us: here it covers what the teacher holds possible. The optimizer by default is that of
    every method here; published are AdamW at 3e-4, batches of 256, gradients clipped to norm 1 and an
    EMA of 0.9999.

    Reference:
        - [Reinforce-DMD](https://arxiv.org/abs/2609.40235)
    """

    def __init__(
        self,
        teacher,
        student=None,
        critic=None,
        adapters=None,
        steps=8,
        times="auto",
        samples=4,
        anchor=0.5,
        critic_steps=4,
        renoise="auto",
        time_weighting="constant",
        noise="auto",
        noise_scale="auto",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, critic=critic)
        steps = read_steps(steps)
        samples = checks.count("samples", samples, least=2)
        anchor = checks.number("anchor", anchor)
        critic_steps = checks.count("critic_steps", critic_steps)
        times = checks.choice("times", times, ("auto", *TIMES))
        renoise = checks.choice("renoise", renoise, ("auto", *RENOISE))
        check_time_weighting(time_weighting, TIME_WEIGHTING)
        seed = checks.integer("seed", seed)
        start = Beginning(teacher, steps, noise, noise_scale, adapters, seed)
        student, critic = start.pair(student, critic)
        super().__init__(teacher, student, critic, seed=seed, **kwargs)
        self.steps = steps
        self.times = default_times(self.process, steps) if times == "auto" else times
        self.samples, self.anchor = samples, anchor
        self.critic_steps, self.time_weighting = critic_steps, time_weighting
        self.renoise = default_renoise(self.process) if renoise == "auto" else renoise

    def student_losses(self, draw, critic):
        with backend.no_gradient():
            teacher = self.teacher_after(draw, critic)

            def judged(critic, teacher, x, z_s, s):
                costs = [self.cost(logits, z_s, s) for logits in (critic, teacher)]
                return gather(costs[0] - costs[1], x)

            ratio = critic.each(judged, teacher, draw.x, draw.z_s, draw.s, where=self.where(draw))
            rewards = self.weighted(total(ratio), draw)

        def likelihood(student, x, z_t, t):
            return gather(self.process.log_mean(student, z_t, t), x)

        predicted = self.process.where_open(draw.z_t, draw.conditions.unknown)
        found = draw.logits.each(likelihood, draw.x, draw.z_t, draw.t, where=predicted)
        parts = (ops.reshape(x, (self.samples, -1)) for x in (total(found), rewards))
        losses = policy_gradient_loss(*parts)
        if self.anchor:
            losses = losses + self.anchor * self._divergence(first_rows(draw, self.samples))
        return losses, self.statistics_of(draw, ratio)

    def _divergence(self, draw):
        """From the teacher at `z_t`, `(batch,)` nats per token."""
        with backend.no_gradient():
            teacher = self.teacher_logits(draw._replace(z_s=draw.z_t, s=draw.t))

        def values(student, teacher, z_t, t):
            student, teacher = (self.process.log_mean(x, z_t, t) for x in (student, teacher))
            return divergence_token_loss(student, teacher)

        where = self.process.where_open(draw.z_t, draw.conditions.unknown)
        divergences = draw.logits.each(values, teacher, draw.z_t, draw.t, where=where)
        return total(divergences) / draw.z_t.shape[1]

    def get_config(self):
        return {
            **super().get_config(),
            "steps": self.steps,
            "times": self.times,
            "samples": self.samples,
            "anchor": self.anchor,
            "critic_steps": self.critic_steps,
            "renoise": self.renoise,
            "time_weighting": keras.saving.serialize_keras_object(self.time_weighting),
        }
