"""A teacher that is sharpened before it is followed: temperature, nucleus, guidance."""

from keras_dmmd.sampling import truncation


class SharpenedTeacher:
    """Mixin of a distiller that draws proposals, with these settings of `DMMDDistiller`."""

    def teacher_logits(self, draw):
        """The teacher's `Logits` at `z_s`, at the wanted temperature and nucleus."""
        if self.guidance_scale is not None and draw.conditions.labels is None:
            raise ValueError(
                "`guidance_scale` strengthens labels, and the data have none: pass "
                '{"tokens": ids, "labels": classes}.'
            )
        conditions = draw.conditions._replace(step_size=None)  # the teacher's steps are small
        logits = self.teacher.deferred_logits(draw.z_s, draw.s, conditions, self.guidance_scale)
        if self.temperature == 1.0 and self.top_p is None:
            return logits
        return logits.map(
            lambda x: truncation.sharpen(x, self.temperature, self.top_p, self.top_p_penalty)
        )
