"""A teacher that is sharpened before it is followed: temperature, nucleus, guidance."""

import numpy as np

from keras_dmmd.sampling import truncation


class SharpenedTeacher:
    """Mixin of a distiller that draws proposals, with these settings of `DMMDDistiller`."""

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
