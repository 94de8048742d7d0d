"""How well a diffusion model explains data."""

import math

import numpy as np

from keras_dmmd import checks
from keras_dmmd.fingerprints import config_hash, weights_hash
from keras_dmmd.metrics.streaming import StreamingMetric
from keras_dmmd.training.diffusion_model import DiffusionModel


class BitsPerToken(StreamingMetric):
    """The NELBO of data under a diffusion model in bits per token (of images: a dimension).

    An upper bound of `-log2 p`, estimated by corruptions of each row at random times, with the standard
    error over rows. `DiffusionModel.evaluate` gives the same number without an error.

    Args:
        model: a built `DiffusionModel`; in a sweep none of those that it judges.
        corruptions: of every row.
        batch_size: rows at once.
        name: of the metric.

    Example:

    ```python
    _, (held_out, _) = kd.datasets.load_digits()
    metric = kd.metrics.BitsPerToken(kd.from_preset("digits_masked_teacher"))
    metric.update_state(held_out[:256])
    metric.result()  # {"bits_per_token": ..., "bits_per_token_error": ...}
    ```
    """

    def __init__(self, model, corruptions=1, batch_size=256, name="bits_per_token"):
        super().__init__(name=name)
        if not isinstance(model, DiffusionModel) or not model.built:
            raise ValueError(
                f"`model` must be a built keras_dmmd.DiffusionModel. Received: {checks.shown(model)}"
            )
        self.model = self.judge = model
        self.batch_size = checks.count("batch_size", batch_size)
        self.corruptions = checks.count("corruptions", corruptions)

    def update_state(self, tokens, data=None):
        """Add rows, ids `(n, length)`."""
        tokens = checks.rows("tokens", tokens)
        copies = np.tile(tokens, (self.corruptions, 1))
        nats = np.asarray(self.model.predict(copies, batch_size=self.batch_size, verbose=0), "float64")
        nats = nats.reshape(self.corruptions, len(tokens)).mean(axis=0)
        self.gather(**{self.name: nats / tokens.shape[1] / math.log(2.0)})

    def get_config(self):
        own = {"corruptions": self.corruptions, "batch_size": self.batch_size}
        return {**super().get_config(), **own}

    def fingerprint(self):
        return [*super().fingerprint(), weights_hash(self.model), config_hash(self.model.process)]
