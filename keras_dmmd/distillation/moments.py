"""The losses of critic and student: each is pulled along the moments of a network that stands still."""

from keras import ops

from keras_dmmd import backend
from keras_dmmd.losses.moment_matching import critic_token_loss, student_token_loss
from keras_dmmd.sampling import truncation
from keras_dmmd.tensors import gather, mean_where, total


class MomentLosses:
    """Mixin of a distiller that draws proposals, see `Proposals`."""

    def role_losses(self, role, inputs, key):
        if role == "student":
            draw = self.draw(inputs, key)
            with backend.no_gradient():
                critic = self._critic_logits(draw)
            return self._student_losses(draw, critic)
        with backend.no_gradient():
            draw = self.draw(inputs, key, with_entropy=False)
        return self._critic_losses(draw, self._critic_logits(draw)), {}

    def joint_losses(self, inputs, key):
        draw = self.draw(inputs, key)
        critic = self._critic_logits(draw)
        return {
            "critic": (self._critic_losses(draw, critic), {}),
            "student": self._student_losses(draw, critic),
        }

    def _critic_logits(self, draw):
        return self.critic.deferred_logits(draw.z_s, draw.s, draw.conditions)

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

    def _critic_losses(self, draw, critic):
        """Of a draw, which no gradient goes through, and the critic's `Logits` at `z_s`."""
        with backend.no_gradient():
            teacher = self.teacher_logits(draw) if self.teacher_weight else None
        student = None if self.target == "hard" else draw.logits

        def values(critic, student, teacher, x, z_t, t, z_s, s):
            with backend.no_gradient():
                target = x if student is None else ops.exp(self.process.log_mean(student, z_t, t))
                probs = None if teacher is None else ops.exp(self.process.log_mean(teacher, z_s, s))
            target = ops.stop_gradient(target)
            cost = self.process.cost(critic, z_s, s)
            return critic_token_loss(target, cost, probs, self.teacher_weight)

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
        return self._weighted(total(losses), draw)

    def _student_losses(self, draw, critic):
        """Of a draw, and the critic's `Logits` at `z_s`, which no gradient goes through; statistics."""
        with backend.no_gradient():
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
