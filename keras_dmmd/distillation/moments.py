"""The student's loss of moment matching: it is pulled along the difference of two that stand still."""

from keras import ops

from keras_dmmd import backend
from keras_dmmd.distillation.critics import CriticLosses
from keras_dmmd.losses.moment_matching import student_token_loss
from keras_dmmd.sampling import truncation
from keras_dmmd.tensors import gather, total


class MomentLosses(CriticLosses):
    """Mixin of a distiller that draws proposals.

    Attributes:
        max_log_ratio: bound on the difference of costs, or `None`.
        student_temperature: τ of the student's prediction in its own loss.
    """

    max_log_ratio = None
    student_temperature = 1.0

    def joint_losses(self, inputs, key):
        draw = self.draw(inputs, key)
        critic = self.critic_logits(draw)
        return {
            "critic": (self.critic_losses(draw, critic), {}),
            "student": self.student_losses(draw, critic),
        }

    def student_losses(self, draw, critic):
        losses, ratio = self.student_totals(draw, critic)
        return self.weighted(losses, draw), self.statistics_of(draw, ratio)

    def student_totals(self, draw, critic):
        """Losses without their weights, `(batch,)`; log-ratios of the sample, `(batch, length)`."""
        with backend.no_gradient():
            teacher = self.teacher_after(draw, critic)

        def values(student, critic, teacher, x, z_t, t, z_s, s):
            with backend.no_gradient():
                costs = [ops.stop_gradient(self.cost(logits, z_s, s)) for logits in (teacher, critic)]
                ratio = gather(costs[1] - costs[0], x)
            log_probs = self.process.log_mean(student, z_t, t)
            if self.student_temperature != 1.0:
                log_probs = truncation.sharpen(log_probs, self.student_temperature)
            probs = ops.exp(log_probs)
            return student_token_loss(probs, *costs, self.max_log_ratio), ratio

        places = (draw.x, draw.z_t, draw.t, draw.z_s, draw.s)
        losses, ratio = draw.logits.each(values, critic, teacher, *places, where=self.where(draw))
        return total(losses), ratio
