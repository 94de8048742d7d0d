"""What every method with a critic shares: the critic's loss, and how losses are weighted and summed."""

from keras import ops

from keras_dmmd import backend
from keras_dmmd.losses.moment_matching import critic_token_loss
from keras_dmmd.tensors import mean_where, total

TIME_WEIGHTING = ("constant", "nelbo")


class CriticLosses:
    """Mixin of a distiller that draws proposals: the critic follows what the student makes.

    A method writes `student_losses`. Its settings, which are instance or class attributes:

    Attributes:
        target: what the critic fits, `"hard"`, the student's sample, or `"soft"`, its probabilities.
        teacher_weight: λ, the pull of the critic to the teacher.
        time_weighting: `"constant"`, `"nelbo"`, or a function of `s`.
        critic_steps: critic updates per student update.
        label_smoothing: the share of the critic's target that all tokens have alike.
        samples: how many samples of each prediction a student's update draws.
        statistics: names of what `statistics_of` returns.
    """

    statistics = ("student_entropy", "log_ratio_mean", "log_ratio_std")
    target = "hard"
    teacher_weight = 0.0
    time_weighting = "constant"
    critic_steps = 1
    label_smoothing = 0.0
    samples = 1

    def student_losses(self, draw, critic):
        """The student's losses, `(batch,)` in nats per token, and a dict of scalars.

        Args:
            draw: a `Draw` of `samples · batch` rows.
            critic: the critic's `Logits` at its `z_s`, which no gradient goes through.
        """
        raise NotImplementedError

    def updates(self, role):
        return self.critic_steps if role == "critic" else 1

    def role_losses(self, role, inputs, key):
        if role == "student":
            draw = self.draw(inputs, key, samples=self.samples)
            with backend.no_gradient():
                critic = self.critic_logits(draw)
            return self.student_losses(draw, critic)
        with backend.no_gradient():
            draw = self.draw(inputs, key, with_entropy=False)
        return self.critic_losses(draw, self.critic_logits(draw)), {}

    def cost(self, logits, z_s, s):
        """The diffusion loss of every clean token at `z_s`, `(batch, length, K)`, before its weight."""
        return self.process.cost(logits, z_s, s)

    def critic_logits(self, draw):
        """The critic's `Logits` at `z_s`."""
        return self.critic.deferred_logits(draw.z_s, draw.s, draw.conditions)

    def teacher_logits(self, draw):
        """The teacher's `Logits` at `z_s`; it is not told of the student's steps."""
        conditions = draw.conditions._replace(step_size=None)
        return self.teacher.deferred_logits(draw.z_s, draw.s, conditions)

    def critic_losses(self, draw, critic):
        """Of a draw, which no gradient goes through, and the critic's `Logits` at `z_s`."""
        with backend.no_gradient():
            teacher = self.teacher_logits(draw) if self.teacher_weight else None
        student = None if self.target == "hard" else draw.logits

        def values(critic, student, teacher, x, z_t, t, z_s, s):
            with backend.no_gradient():
                target = x if student is None else ops.exp(self.process.log_mean(student, z_t, t))
                probs = None if teacher is None else ops.exp(self.process.log_mean(teacher, z_s, s))
            target = ops.stop_gradient(target)
            cost = self.cost(critic, z_s, s)
            losses = critic_token_loss(target, cost, probs, self.teacher_weight)
            if not self.label_smoothing:
                return losses
            everywhere = ops.mean(cost, axis=-1)
            return losses + self.label_smoothing * (
                everywhere - critic_token_loss(target, cost, None, 0.0)
            )

        places = (draw.x, draw.z_t, draw.t, draw.z_s, draw.s)
        losses = critic.each(values, student, teacher, *places, where=self.where(draw))
        return self.weighted(total(losses), draw)

    def teacher_after(self, draw, critic):
        """The teacher's `Logits` at `z_s`, computed after the critic's, not side by side.

        Else both would lie in memory at once, beside the student's activations.
        """
        turn = ops.max(ops.abs(critic.features[0]), initial=0.0)
        return self.teacher_logits(draw._replace(z_s=backend.wait_for(draw.z_s, turn)))

    def where(self, draw):
        """The positions of `z_s` that carry loss."""
        return self.process.where_open(draw.z_s, draw.conditions.unknown)

    def weighted(self, values, draw):
        """Weight losses by time; from nats per sequence to nats per token."""
        if self.time_weighting == "nelbo":
            values = values * self.process.nelbo_weight(draw.s)
        elif callable(self.time_weighting):
            values = values * self.time_weighting(draw.s)
        return values / draw.z_t.shape[1]

    def statistics_of(self, draw, ratio):
        """Means over the tokens that the student had to predict, and over those that carry loss."""
        predicted = self.process.where_open(draw.z_t, draw.conditions.unknown)
        everywhere = ops.ones_like(draw.z_t, dtype="bool")
        where, predicted = (everywhere if x is None else x for x in (self.where(draw), predicted))
        mean = mean_where(where, ratio)
        return {
            "student_entropy": mean_where(predicted, draw.entropy),
            "log_ratio_mean": mean,
            "log_ratio_std": ops.sqrt(mean_where(where, ops.square(ratio - mean))),
        }
