"""Di[M]O (arXiv 2503.15457): one call, judged token by token."""

import keras
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.distillation.beginnings import Beginning, is_auto
from keras_dmmd.distillation.checks import check_absorbing, check_models, check_time_weighting
from keras_dmmd.distillation.critics import TIME_WEIGHTING, CriticLosses
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.distillation.proposals import Proposals
from keras_dmmd.losses.jeffreys import jeffreys_token_loss
from keras_dmmd.tensors import gather, total


@keras.saving.register_keras_serializable("keras_dmmd")
class DiMODistiller(CriticLosses, Proposals, Distiller):
    """A student of one call: where its sample is masked again, critic and teacher are compared.

    From nothing but masks the student's sample x is drawn in one call, and masked again by the forward
    process, `z_s ~ q(z_s | x)`. At the masks of `z_s` the student's logits move along

        (1 - β) (x̂_φ - x̂_θ) + β x̂_φ [ log x̂_φ - log x̂_θ - KL(x̂_φ ‖ x̂_θ) ]

    which is the gradient of `(1 - β) KL(x̂_θ ‖ x̂_φ) + β KL(x̂_φ ‖ x̂_θ)` by the logits of the critic
    φ: of the teacher θ it is pulled to the tokens that it makes too seldom. The critic is trained by
    cross-entropy on the student's samples. With β = 1, no random input and a critic that has come to
    its optimum this is D-MMD of one call from `t = 1`, with `max_log_ratio=None` and
    `student_temperature=1`.

    For masked diffusion only.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is.
        student, critic: copies of the teacher by default, the student with a random input.
        adapters: a rank, for a student and critic of low-rank adapters beside the teacher's weights,
            see `DMMDDistiller`.
        steps: 1: it is a method for one call.
        beta: β; 0 in the released settings, -0.2 in some.
        critic_steps: critic updates per student update.
        label_smoothing: ε, the share of the critic's target that all tokens have alike: 0.1 in the
            paper, whose teachers were trained so, too; with a teacher that was not, it moves the fixed
            point.
        time_weighting: `"constant"`, `"nelbo"` or a registered function of `s`, as in `DMMDDistiller`.
        noise: the student's random input when it is copied, as in `DMMDDistiller`; random tokens by
            default.
        noise_scale: how strongly it acts before the first round.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them. Of data only what is given as known,
            and labels, are used: the student begins from masks.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.DiMODistiller(teacher)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=1, seed=0)  # (16, 64)
    ```

    Logs: those of `DMMDDistiller`; `student_loss` is the divergence.

    Departures from the paper: its student begins from 60 % masks and 40 % random tokens with perturbed
    embeddings; here it begins from masks, and random tokens enter at every position beside them,
    through a projection of their own (`keras_dmmd.models.TokenNoise`), so that `generate` starts as
    that of every masked model. The optimizer by default is that of every method here; published are
    Adam at 1e-5 for both, batches of 64 and an EMA of 0.9999.

    Reference:
        - [Di[M]O: Distilling Masked Diffusion Models into One-step Generator](
          https://arxiv.org/abs/2503.15457)
    """

    renoise = "forward"

    def __init__(
        self,
        teacher,
        student=None,
        critic=None,
        adapters=None,
        steps=1,
        beta=0.0,
        critic_steps=1,
        label_smoothing=0.0,
        time_weighting="constant",
        noise="auto",
        noise_scale="auto",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, critic=critic)
        check_absorbing(type(self).__name__, teacher.process)
        if checks.count("steps", steps) != 1:
            raise ValueError(f"`steps` must be 1: Di[M]O makes students of one call. Received: {steps}")
        beta = checks.number("beta", beta, low=-float("inf"))
        critic_steps = checks.count("critic_steps", critic_steps)
        label_smoothing = checks.number("label_smoothing", label_smoothing, below=1.0)
        check_time_weighting(time_weighting, TIME_WEIGHTING)
        seed = checks.integer("seed", seed)
        if student is None and is_auto(noise):
            noise = "token" if teacher.capabilities.takes_noise else None
        start = Beginning(teacher, 1, noise, noise_scale, adapters, seed)
        student, critic = start.pair(student, critic)
        super().__init__(teacher, student, critic, seed=seed, **kwargs)
        self.steps, self.beta, self.critic_steps = 1, beta, critic_steps
        self.label_smoothing, self.time_weighting = label_smoothing, time_weighting

    def draw_times(self, batch_size, s_key, gap_key):
        """The student begins where all is noise."""
        del gap_key
        s = self.process.training_times(batch_size, s_key)
        return s, ops.ones_like(s), ops.ones_like(s)

    def student_losses(self, draw, critic):
        with backend.no_gradient():
            teacher = self.teacher_after(draw, critic)

        def values(student, critic, teacher, x, z_s, s):
            with backend.no_gradient():
                critic, teacher = (self.process.log_mean(y, z_s, s) for y in (critic, teacher))
                ratio = gather(teacher - critic, x)
            return jeffreys_token_loss(student, teacher, critic, self.beta), ratio

        places = (draw.x, draw.z_s, draw.s)
        losses, ratio = draw.logits.each(values, critic, teacher, *places, where=self.where(draw))
        return self.weighted(total(losses), draw), self.statistics_of(draw, ratio)

    def get_config(self):
        return {
            **super().get_config(),
            "steps": self.steps,
            "beta": self.beta,
            "critic_steps": self.critic_steps,
            "label_smoothing": self.label_smoothing,
            "time_weighting": keras.saving.serialize_keras_object(self.time_weighting),
        }
