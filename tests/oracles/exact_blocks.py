"""The exact denoiser of blocks: each given the clean blocks before it, by enumeration."""

import keras
from keras import ops

from tests.oracles.exact_denoiser import ExactDenoiser


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class ExactBlockDenoiser(ExactDenoiser):
    """`E[x^l | z_t of the block, clean tokens before it]`; its cache is the clean tokens themselves."""

    def __init__(self, *args, block_size, **kwargs):
        super().__init__(*args, **kwargs)
        self.block_size = block_size

    def call(self, z_t, t, context=None, cache=None, start=None, known=None):
        if cache is not None:
            return self._canvas(z_t, t, cache, start, known)
        size = self.block_size
        parts = []
        for start in range(0, z_t.shape[1], size):
            here = slice(start, start + size)
            told = None if known is None else known[:, here]
            parts.append(self._canvas(z_t[:, here], t, context[:, :-size], start, told))
        return ops.concatenate(parts, axis=1)

    def _canvas(self, z_t, t, written, start, known):
        """Bayes over the sequences that begin as what is written does."""
        room = written.shape[1]
        support = ops.convert_to_tensor(self.support)
        differ = ops.not_equal(written[:, None, :], support[None, :, :room])
        differ = ops.logical_and(differ, ops.arange(room) < start)
        fits = -1e4 * ops.cast(ops.any(differ, axis=-1, keepdims=True), "float32")
        canvas = ops.take(support, start + ops.arange(self.block_size), axis=1)
        return self.posterior_mean(z_t, t, canvas, fits, known)

    def empty_cache(self, batch_size, length):
        return ops.zeros((batch_size, length - self.block_size), "int32")

    def extend(self, cache, tokens, start):
        return ops.slice_update(cache, (0, start), tokens)

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}
