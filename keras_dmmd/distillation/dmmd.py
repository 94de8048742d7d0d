"""Discrete Moment Matching Distillation (D-MMD, arXiv 2603.20155)."""

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, checks
from keras_dmmd.distillation.beginnings import (
    begin_critic,
    begin_student,
    default_noise,
    default_renoise,
)
from keras_dmmd.distillation.checks import (
    check_models,
    check_teacher,
    check_time_weighting,
    check_told,
    read_steps,
)
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.distillation.proposals import Proposals
from keras_dmmd.losses.moment_matching import critic_token_loss, student_token_loss
from keras_dmmd.sampling import truncation
from keras_dmmd.tensors import gather, mean_where, total

RENOISE = ("posterior", "forward", "mixed")
TARGET = ("hard", "soft")
TIME_WEIGHTING = ("constant", "nelbo")


@keras.saving.register_keras_serializable("keras_dmmd")
class DMMDDistiller(Proposals, Distiller):
    """Distils a `DiffusionModel` into a student that samples in a few steps.

    The student proposes clean tokens at noise level `t`; its proposal is corrupted again to `s < t`,
    where a critic learns what the student makes while the teacher knows what data look like. The
    student then moves along the difference of their predictions. One `train_step` is one round:
    `critic_steps` critic updates, then one student update, each on fresh noise.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`, which stays what it is.
        student, critic: `DiffusionModel`s of the same process. By default copies of the teacher, the
            student with a random input; where its weights are integers, copies in floats, all of which
            can be trained. Both should start from the teacher's weights: from scratch a student tends
            to a single mode.
        adapters: a rank: student and critic then have no weights of their own but low-rank adapters
            (and the student its random input), and share all others with the teacher, which is frozen
            for that. `student.merged()` is a plain model.
        steps: k, the network calls per sample for which the student is trained; `t - s` is drawn from
            `U(0, 1/k)`. A pair `(low, high)` makes one student for all numbers of calls between them:
            every example has a k of its own, `log k` uniform, and student and critic are told `1/k`.
            (A critic that is not told would only see that the students of all k together make what
            data are: few calls were then too sure, and many not sure enough.)
        renoise: how the student's sample goes to `s`. `"posterior"`: `q(z_s | z_t, x)`, as when
            sampling. `"forward"`: `q(z_s | x)`, forgetting `z_t` (as in Di[M]O and IDLM). `"mixed"`:
            one or the other, by a fair coin for each example. `"auto"` is the posterior for masked
            diffusion, whose open tokens carry no trace of `z_t`, and mixed for other processes. There
            the posterior carries the noise of `z_t` into `z_s`, where the critic cannot tell it from
            the student's own choices; the forward process shows those alone, but not whether they fit
            the `z_t` that they were made from.
        target: what the critic fits. `"hard"`: the student's sample. `"soft"`: its probabilities, of
            less variance, for masked diffusion only.
        critic_steps: critic updates per student update.
        teacher_weight: λ, the pull of the critic to the teacher: 1 in the paper. Without it, the
            default, the critic shows lost modes at their full size.
        temperature: τ: the teacher's log-probabilities are divided by it.
        top_p: nucleus of the teacher, or `None`; tokens outside lose `top_p_penalty` nats.
        top_p_penalty: Δ.
        guidance_scale: w of a teacher under classifier-free guidance (see `DiffusionModel.generate`),
            for data with labels: the student learns to do in one call what takes the teacher two.
        time_weighting: `"constant"`; `"nelbo"`, the bound's weight of `s`, whose pole (at `s = 0` under
            masked diffusion, at `s = 1` under others) makes for rare, large updates and in our runs for
            collapse; or a registered function of `s`, `(batch,)` to `(batch,)`.
        max_log_ratio: bound on `|log x̂_θ - log x̂_φ|` in the student's loss, in nats, or `None`: without
            it a confident teacher drives the student into a single mode.
        noise: the student's random input when it is copied: `"gaussian"`, `"pyramid"`, `"token"`,
            `None`, or `"auto"`: random tokens for images and Gaussian noise for sequences under masked
            diffusion, none under uniform diffusion, whose start is random already.
        noise_scale: how strongly it acts before the first round, the standard deviation of what its
            projection starts from: 0.5 for random tokens and 0 for the others by default. With 0 the
            student starts as its teacher, and cannot break a symmetry.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`; labels are
            hidden and beginnings given at the teacher's rates.

    Example:

    ```python
    distiller = DMMDDistiller(teacher, steps=8)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=8, seed=0)
    ```

    Logs, means over an epoch: `student_loss`, `critic_loss` (nats per token), `student_entropy`
    (nats, of its predictions), `log_ratio_mean` and `log_ratio_std` of `log x̂_θ - log x̂_φ` at the
    student's samples (a mean that drifts down says that the critic lags behind), both gradient norms.

    Reference:
        - [Discrete Moment Matching Distillation](https://arxiv.org/abs/2603.20155)
    """

    statistics = ("student_entropy", "log_ratio_mean", "log_ratio_std")

    def __init__(
        self,
        teacher,
        student=None,
        critic=None,
        adapters=None,
        steps=8,
        renoise="auto",
        target="hard",
        critic_steps=1,
        teacher_weight=0.0,
        temperature=1.0,
        top_p=None,
        top_p_penalty=2.0,
        guidance_scale=None,
        time_weighting="constant",
        max_log_ratio=3.0,
        noise="auto",
        noise_scale="auto",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, critic)
        renoise = checks.choice("renoise", renoise, ("auto", *RENOISE))
        if renoise == "auto":
            renoise = default_renoise(teacher.process)
        checks.choice("target", target, TARGET)
        check_time_weighting(time_weighting, TIME_WEIGHTING)
        steps = read_steps(steps)
        critic_steps = checks.count("critic_steps", critic_steps)
        seed = checks.integer("seed", seed)
        truncation.check(temperature, top_p, greedy=False)
        teacher_weight = checks.number("teacher_weight", teacher_weight)
        # Gradients of an infinite one would explode.
        top_p_penalty = checks.number("top_p_penalty", top_p_penalty, above=0.0)
        noise_scale = checks.number("noise_scale", noise_scale, auto=True)
        if adapters is not None:
            adapters = checks.count("adapters", adapters)
        if max_log_ratio is not None:
            max_log_ratio = checks.number("max_log_ratio", max_log_ratio, above=0.0)
        check_teacher(teacher, target, guidance_scale)
        is_default = isinstance(noise, str) and noise == "auto"
        if student is not None and not (is_default and noise_scale == "auto"):
            raise ValueError(
                "`noise` and `noise_scale` describe the random input of a student that is copied from "
                "the teacher; a given `student` brings its own. Received: "
                f"noise={checks.shown(noise)}, noise_scale={noise_scale} and a student"
            )
        if adapters is not None and student is not None and critic is not None:
            raise ValueError(
                "`adapters` are those of copies: a given student and critic have their own."
            )
        noise = default_noise(teacher) if is_default else noise
        if student is None:
            student = begin_student(teacher, steps, noise, noise_scale, adapters, seed)
        critic = critic or begin_critic(teacher, steps, adapters, seed)
        check_told(steps, student=student, critic=critic)
        super().__init__(teacher, student, critic, seed=seed, **kwargs)
        self.steps, self.renoise, self.target = steps, renoise, target
        self.critic_steps = critic_steps
        self.teacher_weight = teacher_weight
        self.temperature, self.top_p, self.top_p_penalty = temperature, top_p, top_p_penalty
        self.guidance_scale = guidance_scale
        self.time_weighting, self.max_log_ratio = time_weighting, max_log_ratio

    def default_optimizer(self, role):
        """Adam with β1 = 0, β2 = 0.99, as in moment matching (arXiv 2406.04103), clipped.

        Its rate, `1e-3 / (1 + rounds / 1000)`, is high at first, to find lost modes, and low in the
        end, to come to rest. The student's keeps an EMA over about 200 rounds.
        """
        rate = keras.optimizers.schedules.InverseTimeDecay(1e-3, decay_steps=1000, decay_rate=1.0)
        ema = {"use_ema": True, "ema_momentum": 0.995} if role == "student" else {}
        return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.99, global_clipnorm=1.0, **ema)

    # The method -----------------------------------------------------------------------------------

    def role_losses(self, role, inputs, key):
        return {"critic": self._critic_losses, "student": self._student_losses}[role](inputs, key)

    def updates(self, role):
        return self.critic_steps if role == "critic" else 1

    def _check(self, args, kwargs):
        """Also refuse arrays without the labels that guidance needs, before anything runs."""
        super()._check(args, kwargs)
        x = args[0] if args else kwargs.get("x")
        if isinstance(x, dict):
            self._check_labels(x.get("labels"))
        elif isinstance(x, np.ndarray):
            self._check_labels(None)

    def _check_labels(self, labels):
        if self.guidance_scale is not None and labels is None:
            raise ValueError(
                "`guidance_scale` strengthens labels, and the data have none: pass "
                '{"tokens": ids, "labels": classes}.'
            )

    def teacher_logits(self, draw):
        """The teacher's `Logits` at `z_s`, at the wanted temperature and nucleus."""
        self._check_labels(draw.conditions.labels)
        conditions = draw.conditions._replace(step_size=None)  # the teacher's steps are small
        logits = self.teacher.deferred_logits(draw.z_s, draw.s, conditions, self.guidance_scale)
        if self.temperature == 1.0 and self.top_p is None:
            return logits
        return logits.map(
            lambda x: truncation.sharpen(x, self.temperature, self.top_p, self.top_p_penalty)
        )

    def _critic_losses(self, inputs, key):
        with backend.no_gradient():
            draw = self.draw(inputs, key)
            teacher = self.teacher_logits(draw) if self.teacher_weight else None
        student = None if self.target == "hard" else draw.logits

        def values(critic, student, teacher, x, z_t, t, z_s, s):
            with backend.no_gradient():
                target = x if student is None else ops.exp(self.process.log_mean(student, z_t, t))
                probs = None if teacher is None else ops.exp(self.process.log_mean(teacher, z_s, s))
            cost = self.process.cost(critic, z_s, s)
            return critic_token_loss(target, cost, probs, self.teacher_weight)

        critic = self.critic.deferred_logits(draw.z_s, draw.s, draw.conditions)
        losses = critic.each(
            values,
            student,
            teacher,
            draw.x,
            draw.z_t,
            draw.t,
            draw.z_s,
            draw.s,
            where=self._where(draw),
        )
        return self._weighted(total(losses), draw), {}

    def _student_losses(self, inputs, key):
        draw = self.draw(inputs, key)
        with backend.no_gradient():
            critic = self.critic.deferred_logits(draw.z_s, draw.s, draw.conditions)
            # Not side by side, in the memory of both: beside the student's activations lies one pass.
            turn = ops.max(ops.abs(critic.features[0]), initial=0.0)
            teacher = self.teacher_logits(draw._replace(z_s=backend.wait_for(draw.z_s, turn)))

        def values(student, critic, teacher, x, z_t, t, z_s, s):
            with backend.no_gradient():
                costs = [
                    ops.stop_gradient(self.process.cost(logits, z_s, s)) for logits in (teacher, critic)
                ]
                ratio = gather(costs[1] - costs[0], x)
            probs = ops.exp(self.process.log_mean(student, z_t, t))
            return student_token_loss(probs, *costs, self.max_log_ratio), ratio

        where = self._where(draw)
        losses, ratio = draw.logits.each(
            values, critic, teacher, draw.x, draw.z_t, draw.t, draw.z_s, draw.s, where=where
        )
        return self._weighted(total(losses), draw), self._statistics(draw, ratio, where)

    def _where(self, draw):
        """The positions of `z_s` that carry loss."""
        return self.process.where_open(draw.z_s, draw.conditions.unknown)

    def _weighted(self, values, draw):
        """Weight losses by time; from nats per sequence to nats per token."""
        if self.time_weighting == "nelbo":
            values = values * self.process.nelbo_weight(draw.s)
        elif callable(self.time_weighting):
            values = values * self.time_weighting(draw.s)
        return values / draw.z_t.shape[1]

    def _statistics(self, draw, ratio, where):
        """Means over the tokens that the student had to predict, and over those that carry loss."""
        predicted = self.process.where_open(draw.z_t, draw.conditions.unknown)
        everywhere = ops.ones_like(draw.z_t, dtype="bool")
        where, predicted = (everywhere if x is None else x for x in (where, predicted))
        mean = mean_where(where, ratio)
        return {
            "student_entropy": mean_where(predicted, draw.entropy),
            "log_ratio_mean": mean,
            "log_ratio_std": ops.sqrt(mean_where(where, ops.square(ratio - mean))),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "critic_steps": self.critic_steps,
            "steps": self.steps,
            "renoise": self.renoise,
            "target": self.target,
            "teacher_weight": self.teacher_weight,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_p_penalty": self.top_p_penalty,
            "guidance_scale": self.guidance_scale,
            "time_weighting": keras.saving.serialize_keras_object(self.time_weighting),
            "max_log_ratio": self.max_log_ratio,
        }
