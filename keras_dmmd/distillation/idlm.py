"""Inverse distillation of diffusion language models (IDLM, arXiv 2602.19066)."""

import keras
from keras import ops

from keras_dmmd import checks, random
from keras_dmmd.distillation.beginnings import Beginning
from keras_dmmd.distillation.checks import check_models
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.distillation.moments import MomentLosses
from keras_dmmd.distillation.proposals import Proposals
from keras_dmmd.losses.policy_gradient import policy_gradient_loss
from keras_dmmd.sampling.grids import MOST_CALLS
from keras_dmmd.tensors import LIKELIHOOD_FLOOR, gather, total


@keras.saving.register_keras_serializable("keras_dmmd")
class IDLMDistiller(MomentLosses, Proposals, Distiller):
    """The student makes what the teacher's bound finds likelier than that of a critic trained on it.

    Data are corrupted to `z_t`; the student's prediction p is corrupted again by the forward process,
    `z_s ~ q(z_s | x ~ p)`, at any s. With the integrand of the NELBO for every clean token k, a table
    `cost(k)`, and its weight of time `w(s)`,

        critic φ:  min w(s) Σ_l Σ_k p_k cost_φ(k)
        student:   min w(s) Σ_l Σ_k p_k [cost_θ(k) - cost_φ(k)]

    Since the critic's bound is the least, the student's loss is at least 0, and 0 where its samples are
    the teacher's. For masked diffusion this is nearly `DMMDDistiller` with `renoise="forward"`,
    `time_weighting="nelbo"`, `max_log_ratio=None` and `student_temperature=1`. Under other processes
    every token of `z_s` shows what the student drew, and the gradient passes through it, too.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is.
        student, critic: copies of the teacher by default, the student with a random input.
        adapters: a rank, for a student and critic of low-rank adapters beside the teacher's weights,
            see `DMMDDistiller`.
        steps: k, the network calls per sample of the student; `t` is one of `1/k, 2/k, …, 1`.
        critic_steps: critic updates per student update; the critic is first.
        samples: for processes that are not masked, how many `z_s` are drawn of each prediction, at
            least 2.
        noise, noise_scale: the student's random input when it is copied, as in `DMMDDistiller`.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.IDLMDistiller(teacher, steps=8)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=8, seed=0)  # (16, 64)
    ```

    Logs: those of `DMMDDistiller`, with the difference of costs in the place of the log-ratio.

    Departures from the paper: its networks take soft tokens, and the gradient passes through `z_s` by
    them; here networks take ids, `z_s` is drawn, and the gradient passes by its likelihood
    `q(z_s | p)`, each of `samples` draws held against the others. The critic fits p for masked
    diffusion and the sample elsewhere, where `z_s` depends on it. Which `t` are drawn is ours. The
    optimizer by default is that of every method here; published are AdamW at 1e-6, batches of 512 and
    an EMA of 0.9999 in float32.

    Reference:
        - [IDLM](https://arxiv.org/abs/2602.19066)
    """

    renoise = "forward"
    time_weighting = "nelbo"

    def __init__(
        self,
        teacher,
        student=None,
        critic=None,
        adapters=None,
        steps=8,
        critic_steps=1,
        samples=2,
        noise="auto",
        noise_scale="auto",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, critic=critic)
        steps = checks.count("steps", steps, most=MOST_CALLS)
        critic_steps = checks.count("critic_steps", critic_steps)
        samples = checks.count("samples", samples, least=2)
        seed = checks.integer("seed", seed)
        start = Beginning(teacher, steps, noise, noise_scale, adapters, seed)
        student, critic = start.pair(student, critic)
        super().__init__(teacher, student, critic, seed=seed, **kwargs)
        self.steps, self.critic_steps = steps, critic_steps
        self.target = "soft" if self.process.absorbing else "hard"
        self.draws = samples
        self.samples = 1 if self.process.absorbing else samples

    def cost(self, logits, z_s, s):
        return self.process.nelbo_cost(logits, z_s, s)

    def draw_times(self, batch_size, s_key, gap_key):
        """`t` of the student's own grid, and `s` of any level of noise."""
        s = self.process.training_times(batch_size, s_key)
        t = 1.0 + ops.floor(random.uniform((batch_size,), gap_key) * self.steps)
        t = ops.minimum(t / self.steps, 1.0)
        return s, t, ops.ones_like(t) / self.steps

    def student_losses(self, draw, critic):
        losses, ratio = self.student_totals(draw, critic)
        losses = self.weighted(losses, draw)
        statistics = self.statistics_of(draw, ratio)
        if self.process.absorbing:
            return losses, statistics
        losses, likelihoods = (
            ops.reshape(x, (self.samples, -1)) for x in (losses, self._log_likelihood(draw))
        )
        through = policy_gradient_loss(likelihoods, -losses)
        return ops.mean(losses, axis=0) + through - ops.stop_gradient(through), statistics

    def _log_likelihood(self, draw):
        """`log q(z_s | p)`, `(samples · batch,)`: where the gradient passes through `z_s`."""

        def values(student, z_t, t, z_s, s):
            probs = ops.exp(self.process.log_mean(student, z_t, t))
            likelihood = gather(self.process.marginal(probs, s), z_s)
            return ops.log(ops.maximum(likelihood, LIKELIHOOD_FLOOR))

        places = (draw.z_t, draw.t, draw.z_s, draw.s)
        return total(draw.logits.each(values, *places, where=draw.conditions.unknown))

    def get_config(self):
        return {
            **super().get_config(),
            "steps": self.steps,
            "critic_steps": self.critic_steps,
            "samples": self.draws,
        }
