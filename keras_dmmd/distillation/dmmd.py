"""Discrete Moment Matching Distillation (D-MMD, arXiv 2603.20155)."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dmmd import backend, losses, random
from keras_dmmd.diffusion.process import gather
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.sampling import truncation
from keras_dmmd.sampling.conditions import hold
from keras_dmmd.training.diffusion_model import DiffusionModel
from keras_dmmd.training.inputs import unpack

RENOISE = ("posterior", "forward", "mixed")
TARGET = ("hard", "soft")
TIME_WEIGHTING = ("constant", "nelbo")


class Draw(NamedTuple):
    """What the student made of a batch.

    Attributes:
        log_probs: its prediction at `z_t`, `(batch, length, K)`.
        x: a sample of it, `(batch, length)`.
        z_t, z_s: corrupted data, and the student's sample corrupted again, `(batch, length)`.
        s: the time of `z_s`, `(batch,)`.
        told: what the networks are told: `"labels"`, `(batch,)`, `"known"`, `(batch, length)`,
            `"context"`, `(batch, length)`, where there are such.
    """

    log_probs: Any
    x: Any
    z_t: Any
    z_s: Any
    s: Any
    told: dict


@keras.saving.register_keras_serializable("keras_dmmd")
class DMMDDistiller(Distiller):
    """Distils a `DiffusionModel` into a student that samples in a few steps.

    The student proposes clean tokens at noise level `t`; its proposal is corrupted again to `s < t`,
    where a critic learns what the student makes while the teacher knows what data look like. The
    student then moves along the difference of their predictions. One `train_step` is one round:
    `critic_steps` critic updates, then one student update, each on fresh noise.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`; it is frozen.
        student, critic: `DiffusionModel`s of the same process. By default copies of the teacher, the
            student with a random input. Both should start from the teacher's weights: from scratch a
            student tends to a single mode.
        steps: k, the network calls a sample for which the student is trained; `t - s` is drawn from
            `U(0, 1/k)`.
        renoise: how the student's sample goes to `s`. `"posterior"`: `q(z_s | z_t, x)`, as when
            sampling. `"forward"`: `q(z_s | x)`, forgetting `z_t` (as in Di[M]O and IDLM). `"mixed"`:
            one or the other, by a fair coin for each example. `"auto"` is the posterior for masked
            diffusion, whose open tokens carry no trace of `z_t`, and mixed for uniform diffusion, where
            the posterior alone hides from the critic what the student makes, and the forward process
            alone hides what it makes it of.
        target: what the critic fits. `"hard"`: the student's sample. `"soft"`: its probabilities, of
            less variance, for masked diffusion only.
        critic_steps: critic updates a student update.
        teacher_weight: λ, the pull of the critic to the teacher: 1 in the paper. Without it, the
            default, the critic shows lost modes at their full size.
        temperature: τ: the teacher's log-probabilities are divided by it.
        top_p: nucleus of the teacher, or `None`; tokens outside lose `top_p_penalty` nats.
        top_p_penalty: Δ.
        guidance_scale: w of a teacher under classifier-free guidance (see `DiffusionModel.generate`),
            for data with labels: the student learns to do in one call what takes the teacher two.
        time_weighting: `"constant"`; `"nelbo"`, the bound's weight of `s`, whose pole at `s = 0` makes
            for rare, large updates and in our runs for collapse; or a registered function of `s`,
            `(batch,)` to `(batch,)`.
        max_log_ratio: bound on `|log x̂_θ - log x̂_φ|` in the student's loss, in nats, or `None`: without
            it a confident teacher drives the student into a single mode.
        noise: the student's random input when it is copied: `"gaussian"`, `"pyramid"`, `"token"`,
            `None`, or `"auto"`: a pyramid for images and Gaussian noise for sequences under masked
            diffusion, none under uniform diffusion, whose start is random already.
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

    Logs, means over an epoch: `student_loss`, `critic_loss` (nats a token), `student_entropy` (nats, of
    its predictions), `log_ratio_mean` and `log_ratio_std` of `log x̂_θ - log x̂_φ` at the student's
    samples (a mean that drifts down says that the critic lags behind), and both gradient norms.

    Reference:
        - [Discrete Moment Matching Distillation](https://arxiv.org/abs/2603.20155)
    """

    def __init__(
        self,
        teacher,
        student=None,
        critic=None,
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
        seed=0,
        **kwargs,
    ):
        _check_models(teacher, student, critic)
        if renoise == "auto":
            renoise = teacher.process.renoise
        _check_choice("renoise", renoise, RENOISE)
        _check_choice("target", target, TARGET)
        if not callable(time_weighting):
            _check_choice("time_weighting", time_weighting, TIME_WEIGHTING)
        _check_count("steps", steps)
        _check_count("critic_steps", critic_steps)
        truncation.check(temperature, top_p)
        if not (isinstance(teacher_weight, (int, float)) and teacher_weight >= 0):
            raise ValueError(
                f"`teacher_weight` must be a number of at least 0. Received: {teacher_weight!r}"
            )
        if top_p is not None and not 0 < top_p_penalty < float("inf"):
            raise ValueError(
                "`top_p_penalty` must be positive and finite: an infinite one makes gradients "
                f"explode. Received: {top_p_penalty}"
            )
        if guidance_scale is not None and not getattr(teacher.denoiser, "num_classes", None):
            raise ValueError("`guidance_scale` needs a teacher with labels: `num_classes` is not set.")
        if max_log_ratio is not None and not max_log_ratio > 0:
            raise ValueError(f"`max_log_ratio` must be positive or None. Received: {max_log_ratio}")
        if target == "soft" and not teacher.process.soft_target:
            raise ValueError(
                f"`target='soft'` is not sound for {type(teacher.process).__name__}: `z_s` depends on "
                "the sampled token at every position, and soft targets ignore it. Use `target='hard'`."
            )
        if student is not None and noise != "auto":
            raise ValueError(
                "`noise` is the random input of a student that is copied from the teacher; a given "
                f"`student` brings its own. Received: noise={noise!r} and a student"
            )
        if noise == "auto":
            noise = default_noise(teacher)
        if student is None:
            student = teacher.copy(noise=noise, seed=seed + 2, name="student")
            student.steps = steps
        super().__init__(
            teacher,
            student,
            critic or teacher.copy(seed=seed + 4, name="critic"),
            critic_steps=critic_steps,
            seed=seed,
            **kwargs,
        )
        self.steps, self.renoise, self.target = steps, renoise, target
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

    def draw(self, inputs, key):
        """Corrupt data to `z_t`, let the student sample `x`, corrupt that to `z_s`."""
        tokens, told = unpack(inputs)
        told, key = self.teacher.told(tokens, told, key)
        s_key, gap_key, corrupt_key, noise_key, x_key, renoise_key = random.split(key, 6)
        known = told.get("known")
        batch_size = ops.shape(tokens)[0]
        s = self.process.training_times(batch_size, s_key)
        t = ops.minimum(s + random.uniform((batch_size,), gap_key) / self.steps, 1.0)
        z_t = hold(known, tokens, self.process.corrupt(tokens, t, corrupt_key))
        shown, noise_key = self.student.self_condition(z_t, t, told, noise_key)
        logits = self.student.logits(z_t, t, **shown, seed=noise_key)
        log_probs = self.process.log_mean(logits, z_t, t)
        x = hold(known, tokens, random.categorical(ops.stop_gradient(log_probs), x_key))
        z_s = hold(known, tokens, self._renoise(x, z_t, s, t, renoise_key))
        return Draw(log_probs, x, z_t, z_s, s, told)

    def _renoise(self, x, z_t, s, t, key):
        """`z_s` from the student's sample `x`, by posterior, by forward corruption, or by a coin."""
        if self.renoise == "posterior":
            return self.process.sample_posterior(x, z_t, s, t, key)
        if self.renoise == "forward":
            return self.process.corrupt(x, s, key)
        posterior_key, forward_key, coin_key = random.split(key, 3)
        return ops.where(
            random.uniform((ops.shape(x)[0], 1), coin_key) < 0.5,
            self.process.sample_posterior(x, z_t, s, t, posterior_key),
            self.process.corrupt(x, s, forward_key),
        )

    def _check(self, args, kwargs):
        """Also refuse arrays without the labels that guidance needs, before anything runs."""
        super()._check(args, kwargs)
        x = args[0] if args else kwargs.get("x")
        if isinstance(x, (dict, np.ndarray)):
            self._check_labels(x if isinstance(x, dict) else {})

    def _check_labels(self, told):
        if self.guidance_scale is not None and told.get("labels") is None:
            raise ValueError(
                "`guidance_scale` strengthens labels, and the data have none: pass "
                '{"tokens": ids, "labels": classes}.'
            )

    def teacher_logits(self, draw):
        """The teacher's logits at `z_s`, at the wanted temperature and nucleus."""
        self._check_labels(draw.told)
        logits = self.teacher.logits(draw.z_s, draw.s, **draw.told, guidance_scale=self.guidance_scale)
        if self.temperature == 1.0 and self.top_p is None:
            return logits
        return truncation.sharpen(logits, self.temperature, self.top_p, self.top_p_penalty)

    def critic_losses(self, inputs, key):
        with backend.no_gradient():
            draw = self.draw(inputs, key)
            teacher_probs = None
            if self.teacher_weight:
                teacher_log_probs = self.process.log_mean(self.teacher_logits(draw), draw.z_s, draw.s)
                teacher_probs = ops.exp(teacher_log_probs)
        critic_cost = self._cost(self.critic.logits(draw.z_s, draw.s, **draw.told), draw)
        target = draw.x if self.target == "hard" else ops.exp(draw.log_probs)
        values = losses.critic_loss(target, critic_cost, teacher_probs, self.teacher_weight)
        return self._weighted(values, draw), {}

    def student_losses(self, inputs, key):
        draw = self.draw(inputs, key)
        with backend.no_gradient():
            critic_cost = self._cost(self.critic.logits(draw.z_s, draw.s, **draw.told), draw)
            # Not side by side, in the memory of both: beside the student's activations lies one pass.
            turn = draw._replace(z_s=backend.after(draw.z_s, ops.max(ops.abs(critic_cost))))
            teacher_cost = self._cost(self.teacher_logits(turn), turn)
            statistics = self._statistics(draw, teacher_cost, critic_cost)
        probs = ops.exp(draw.log_probs)
        values = losses.student_loss(probs, teacher_cost, critic_cost, self.max_log_ratio)
        return self._weighted(values, draw), statistics

    def _cost(self, logits, draw):
        """The table of costs at `z_s`, 0 where a token is given."""
        cost = self.process.cost(logits, draw.z_s, draw.s)
        known = draw.told.get("known")
        return cost if known is None else ops.where(ops.expand_dims(known, -1), 0.0, cost)

    def _weighted(self, values, draw):
        """Weight losses by time; from nats a sequence to nats a token."""
        if self.time_weighting == "nelbo":
            values = values * self.process.weight(draw.s)
        elif callable(self.time_weighting):
            values = values * self.time_weighting(draw.s)
        return values / draw.z_t.shape[1]

    def _statistics(self, draw, teacher_cost, critic_cost):
        """Means over the tokens that the student had to predict, and over those that carry loss."""
        entropy = entropies(ops.stop_gradient(draw.log_probs))
        open_t, open_s = self.process.is_open(draw.z_t), self.process.is_open(draw.z_s)
        if "known" in draw.told:
            unknown = ops.logical_not(draw.told["known"])
            open_t, open_s = ops.logical_and(open_t, unknown), ops.logical_and(open_s, unknown)
        ratio = gather(critic_cost - teacher_cost, draw.x)
        mean = mean_where(open_s, ratio)
        return {
            "student_entropy": mean_where(open_t, entropy),
            "log_ratio_mean": mean,
            "log_ratio_std": ops.sqrt(mean_where(open_s, ops.square(ratio - mean))),
        }

    def get_config(self):
        return {
            **super().get_config(),
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


def default_noise(teacher):
    """`"pyramid"`, `"gaussian"` or `None`, by the teacher's process and the shape of its data."""
    if not teacher.process.needs_noise:
        return None
    return "gaussian" if getattr(teacher.denoiser, "grid", None) is None else "pyramid"


def entropies(log_probs):
    """Entropies of distributions over the last axis, in nats."""
    log_probs = ops.maximum(log_probs, -1e4)
    return -ops.sum(ops.exp(log_probs) * log_probs, axis=-1)


def mean_where(mask, values):
    mask = ops.cast(mask, "float32")
    return ops.sum(mask * values) / ops.maximum(ops.sum(mask), 1.0)


def _check_models(teacher, student, critic):
    for name, model in (("teacher", teacher), ("student", student), ("critic", critic)):
        if model is None and name != "teacher":
            continue
        if not isinstance(model, DiffusionModel):
            raise ValueError(
                f"`{name}` must be a keras_dmmd.DiffusionModel(denoiser, process). Received: {model!r}"
            )
        if not model.built:
            raise ValueError(
                f"The {name} is not built: fit it, load its weights or call its "
                "`build((None, length))` first. A teacher needs trained weights."
            )
        if name != "student" and model.takes_noise:
            raise ValueError(
                f"The {name} has a random input, so its prediction is not E[x | z_t]: only a student "
                "may have one."
            )
        if model.block_size != teacher.block_size:
            raise ValueError(
                f"The {name} writes blocks of {model.block_size or 'all'} tokens, but the teacher of "
                f"{teacher.block_size or 'all'}."
            )
        process, wanted = model.process, teacher.process
        if type(process) is not type(wanted) or process.prediction != wanted.prediction:
            raise ValueError(f"The {name} has the process {process!r}, but the teacher {wanted!r}.")
        if process.vocabulary_size != wanted.vocabulary_size:
            raise ValueError(
                f"The {name}'s vocabulary has {process.vocabulary_size} tokens, but the teacher's "
                f"{wanted.vocabulary_size}."
            )
        schedules = [(type(s).__name__, s.get_config()) for s in (process.schedule, wanted.schedule)]
        if schedules[0] != schedules[1]:
            raise ValueError(
                f"The {name} and the teacher need equal schedules. "
                f"Received: {schedules[0]} and {schedules[1]}"
            )
    if student is not None and (student is teacher or student is critic):
        raise ValueError("Teacher, student and critic must be three models; copy with `.copy()`.")
    for name, model in (("student", student), ("critic", critic)):
        if model is None and not teacher.denoiser.weights:
            raise ValueError(
                f"The teacher's denoiser has no weights to copy a {name} from: pass `{name}=`."
            )


def _check_choice(name, value, accepted):
    if value not in accepted:
        raise ValueError(f"`{name}` must be one of {accepted}. Received: {name}={value!r}")


def _check_count(name, value):
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}")
