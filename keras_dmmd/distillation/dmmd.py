"""Discrete Moment Matching Distillation (D-MMD, arXiv 2603.20155)."""

import keras

from keras_dmmd import checks
from keras_dmmd.distillation import recipes
from keras_dmmd.distillation.beginnings import Beginning
from keras_dmmd.distillation.calls import read_steps
from keras_dmmd.distillation.checks import check_models, check_teacher, check_time_weighting
from keras_dmmd.distillation.critics import TIME_WEIGHTING
from keras_dmmd.distillation.curriculum import Curriculum, read_rounds
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.distillation.moments import MomentLosses
from keras_dmmd.distillation.proposals import RENOISE, TIMES, Proposals
from keras_dmmd.distillation.sharpened import SharpenedTeacher
from keras_dmmd.sampling import truncation

TARGET = ("hard", "soft")


@keras.saving.register_keras_serializable("keras_dmmd")
class DMMDDistiller(Curriculum, SharpenedTeacher, MomentLosses, Proposals, Distiller):
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
        steps: k, the network calls per sample for which the student is trained. A pair `(low, high)`
            makes one student for all numbers of calls between them: every example has a k of its own,
            as often as `log((k + 1) / k)`, and student and critic are told `1/k`. (A critic that is not
            told would only see that the students of all k together make what data are: few calls were
            then too sure, and many not sure enough.)
        times: the times `t` at which the student is asked, for `s ~ U(0, 1)`. `"random"`: `t - s` from
            `U(0, 1/k)`, cut at 1. `"grid"`: the k times at which it will be called when it samples, the
            one before `s`. `"auto"` is the grid where `steps` is 1 or 2 and the process ends in random
            tokens, as uniform diffusion does (such a student is poor in more calls), and random times
            elsewhere.
        curriculum_rounds: over how many rounds its steps shorten from those of a student for two calls
            to those for k, geometrically; 0, the default, is none. About two fifths of all rounds help
            a student for 4 calls or more to find a joint structure that short steps hardly show, as
            that of permutations has.
        renoise: how the student's sample goes to `s`. `"posterior"`: `q(z_s | z_t, x)`, as when
            sampling. `"forward"`: `q(z_s | x)`, forgetting `z_t` (as in Di[M]O and IDLM). `"mixed"`:
            one or the other, by a fair coin for each example. `"auto"` is the posterior for masked
            diffusion, whose open tokens carry no trace of `z_t`, and mixed for other processes. There
            the posterior carries the noise of `z_t` into `z_s`, where the critic cannot tell it from
            the student's own choices; the forward process shows those alone, but not whether they fit
            the `z_t` that they were made from.
        recipe: what the arguments that are left at `"auto"` become. `"default"`: what did best in our
            runs. `"paper"`: what the paper states, `times="random"`, `renoise="posterior"`,
            `teacher_weight=1`, `max_log_ratio=None`, `time_weighting="nelbo"`,
            `student_temperature=1`, no curriculum, for which other values are errors then; and, of the
            random inputs that it compares, `noise="pyramid"` for images and Gaussian noise for texts.
            Optimizers and rates, which it does not give, stay ours.
        target: what the critic fits. `"hard"`: the student's sample. `"soft"`: its probabilities, of
            less variance, for masked diffusion only.
        critic_steps: critic updates per student update.
        teacher_weight: λ, the pull of the critic to the teacher: 1 in the paper, 0 by default. Without
            it the critic shows lost modes at their full size.
        temperature: τ: the teacher's log-probabilities are divided by it.
        top_p: nucleus of the teacher, or `None`; tokens outside lose `top_p_penalty` nats.
        top_p_penalty: Δ.
        guidance_scale: w of a teacher under classifier-free guidance (see `DiffusionModel.generate`),
            for data with labels: the student learns to do in one call what takes the teacher two.
        time_weighting: `"constant"`, the default; `"nelbo"`, the paper's, the bound's weight of `s`,
            whose pole (at `s = 0` under masked diffusion, at `s = 1` under others) makes for rare,
            large updates and in our runs for collapse; or a registered function of `s`, `(batch,)` to
            `(batch,)`.
        max_log_ratio: bound on `|log x̂_θ - log x̂_φ|` in the student's loss, in nats, 3 by default, or
            `None`: without it a confident teacher drives the student into a single mode.
        student_temperature: τ: in the student's loss `p` is `p^(1/τ)`, normalised. With 1, the paper's,
            a token of which the student is sure has no gradient left by which that could change, and
            random inputs keep the sample that they first chose; with 2 it has. The fixed point, where
            the log-ratio is 0, is the same. `"auto"` is 2 for masked diffusion of at most 256 words
            and 1 elsewhere.
        noise: the student's random input when it is copied: `"gaussian"`, `"pyramid"`, `"token"`,
            `None`, or `"auto"`: under masked diffusion random tokens for images, and for sequences
            where `steps` is at most 4, else Gaussian noise; none under uniform diffusion, whose start
            is random already.
        noise_scale: how strongly it acts before the first round, the standard deviation of what its
            projection starts from: 0.5 for random tokens and 0 for the others by default. With 0 the
            student starts as its teacher, and cannot break a symmetry.
        simultaneous: whether a round makes both updates of one draw and at once, in 7 passes of a
            network in place of 9 (a gradient counts for two), and in the memory of both. By default
            the critic is updated first, and the student is drawn from again.
        seed: of all the draws.

    Call arguments:
        inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`; labels are
            hidden and beginnings given at the teacher's rates.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = kd.DMMDDistiller(teacher, steps=8)
    distiller.compile()
    distiller.fit(tokens, epochs=5)
    images = distiller.student.generate(16, steps=8, seed=0)  # (16, 64)
    ```

    Logs, means over an epoch: `student_loss`, `critic_loss` (nats per token), `student_entropy`
    (nats, of its predictions), `log_ratio_mean` and `log_ratio_std` of `log x̂_θ - log x̂_φ` at the
    student's samples (a mean that drifts down says that the critic lags behind), both gradient norms.

    Reference:
        - [Discrete Moment Matching Distillation](https://arxiv.org/abs/2603.20155)
    """

    def __init__(
        self,
        teacher,
        student=None,
        critic=None,
        adapters=None,
        steps=8,
        times="auto",
        curriculum_rounds=0,
        renoise="auto",
        target="hard",
        critic_steps=1,
        teacher_weight="auto",
        temperature=1.0,
        top_p=None,
        top_p_penalty=2.0,
        guidance_scale=None,
        time_weighting="auto",
        max_log_ratio="auto",
        student_temperature="auto",
        noise="auto",
        noise_scale="auto",
        simultaneous=False,
        recipe="default",
        seed=0,
        **kwargs,
    ):
        check_models(teacher, student, critic=critic)
        given = {"times": times, "renoise": renoise, "teacher_weight": teacher_weight}
        given |= {"time_weighting": time_weighting, "max_log_ratio": max_log_ratio, "noise": noise}
        given |= {"student_temperature": student_temperature}
        steps = read_steps(steps)
        curriculum_rounds = read_rounds(curriculum_rounds, steps, recipe)
        given = recipes.resolved(recipe, given, teacher, steps, copies=student is None)
        checks.choice("times", given["times"], TIMES)
        checks.choice("renoise", given["renoise"], RENOISE)
        checks.choice("target", target, TARGET)
        check_time_weighting(given["time_weighting"], TIME_WEIGHTING)
        critic_steps = checks.count("critic_steps", critic_steps)
        simultaneous = checks.flag("simultaneous", simultaneous)
        if simultaneous and critic_steps > 1:
            raise ValueError(
                "`simultaneous` updates are one of the critic and one of the student. "
                f"Received: critic_steps={critic_steps}"
            )
        seed = checks.integer("seed", seed)
        truncation.check(temperature, top_p, greedy=False)
        teacher_weight = checks.number("teacher_weight", given["teacher_weight"])
        # Gradients of an infinite one would explode.
        top_p_penalty = checks.number("top_p_penalty", top_p_penalty, above=0.0)
        max_log_ratio = given["max_log_ratio"]
        if max_log_ratio is not None:
            max_log_ratio = checks.number("max_log_ratio", max_log_ratio, above=0.0)
        student_temperature = checks.number(
            "student_temperature", given["student_temperature"], above=0.0
        )
        check_teacher(teacher, target, guidance_scale)
        start = Beginning(teacher, steps, given["noise"], noise_scale, adapters, seed)
        student, critic = start.pair(student, critic)
        super().__init__(teacher, student, critic, seed=seed, **kwargs)
        self.recipe, self.steps, self.times, self.target = recipe, steps, given["times"], target
        self.begin_curriculum(curriculum_rounds)
        self.renoise, self.time_weighting = given["renoise"], given["time_weighting"]
        self.critic_steps, self.simultaneous = critic_steps, simultaneous
        self.teacher_weight, self.max_log_ratio = teacher_weight, max_log_ratio
        self.temperature, self.top_p, self.top_p_penalty = temperature, top_p, top_p_penalty
        self.student_temperature = student_temperature
        self.guidance_scale = guidance_scale

    def get_config(self):
        return {
            **super().get_config(),
            "recipe": self.recipe,
            "critic_steps": self.critic_steps,
            "simultaneous": self.simultaneous,
            "steps": self.steps,
            "times": self.times,
            "curriculum_rounds": self.curriculum_rounds,
            "renoise": self.renoise,
            "target": self.target,
            "teacher_weight": self.teacher_weight,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_p_penalty": self.top_p_penalty,
            "guidance_scale": self.guidance_scale,
            "time_weighting": keras.saving.serialize_keras_object(self.time_weighting),
            "max_log_ratio": self.max_log_ratio,
            "student_temperature": self.student_temperature,
        }
