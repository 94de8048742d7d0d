"""A denoiser for block after block: causal over what is written, both ways over a canvas."""

import keras
import numpy as np
from keras import ops

from keras_dmmd import checks
from keras_dmmd.models.denoiser import Denoiser
from keras_dmmd.models.transformer import attention_dtype


@keras.saving.register_keras_serializable("keras_dmmd")
class BlockDenoiser(Denoiser):
    """A `Denoiser` that writes block after block, each a canvas that sees the finished ones before it.

    One transformer reads in two ways. Clean tokens are read causally, at time 0 and without labels, and
    leave their keys and values behind. A canvas of `block_size` corrupted tokens is read in both
    directions and also attends to the keys and values of all blocks before it. So text of any length is
    made at a cost that each block pays once: finished blocks are never read again.

    In training all blocks of a sequence are denoised at once, each beside the clean blocks before it
    (`context`); in sampling one canvas at a time beside a cache. Both give the same logits.

    So a token that is given in a later block has no part in the blocks before it.

    Any layer with these methods and the attribute `block_size` can take its place, the adapter of a
    pretrained network for instance: `call(z_t, t, context=…)`, `call(z_t, t, cache=…, start=…)`,
    `empty_cache` and `extend`.

    Args:
        vocabulary_size: see `Denoiser`.
        block_size: b, tokens of a canvas; it divides the length of sequences.
        **kwargs: of `Denoiser`, but for `grid`.

    Call arguments:
        z_t, t, labels, known, prediction, noise: see `Denoiser`; `z_t` are whole sequences,
            `(batch, length)`, with `context`, or one canvas, `(batch, b)`, with `cache`.
        context: clean ids `(batch, length)`. `None` is for a sequence of a single block.
        cache: what `empty_cache` and `extend` returned.
        start: the position of the canvas, an integer tensor.

    Example:

    ```python
    tokens = np.random.default_rng(0).integers(0, 27, (64, 128))  # or ids of your texts
    denoiser = kd.BlockDenoiser(vocabulary_size=27, block_size=16, hidden_dim=64, num_layers=2)
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(27))
    teacher.compile()
    teacher.fit(tokens)
    teacher.generate(4, length=128, steps=4)  # 8 blocks, 4 network calls each
    ```

    Reference:
        - [Block Diffusion](https://arxiv.org/abs/2503.09573)
        - [Discrete Moment Matching Distillation](https://arxiv.org/abs/2603.20155)
    """

    padding = False

    def __init__(self, vocabulary_size, num_states=None, block_size=16, **kwargs):
        if kwargs.get("grid") is not None:
            raise ValueError("Blocks follow each other in a sequence: a BlockDenoiser takes no `grid`.")
        super().__init__(vocabulary_size, num_states, **kwargs)
        self.block_size = checks.count("block_size", block_size)

    def features(
        self,
        z_t,
        t,
        labels=None,
        known=None,
        prediction=None,
        step_size=None,
        noise=None,
        context=None,
        cache=None,
        start=None,
        training=False,
    ):
        length = z_t.shape[1]
        if cache is None:
            memories, mask = self._read_context(context, length, training)
        else:
            memories = cache
            mask = _beside(cache, start, np.ones((length, length), dtype=bool))
        x, angles = self.embed(z_t, known, prediction, noise, start)
        condition = self.condition(t, labels, step_size)
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block(x, condition, angles, memory, mask, cached=cache is not None, training=training)
        return self.finish(x, condition)

    def _read_context(self, context, length, training):
        """Memories of every block before the last, a layer each, and who attends to what."""
        size = self.block_size
        if length is None or length == size:
            return [None] * len(self.blocks), None
        if length % size:
            raise ValueError(
                f"Sequences must be whole blocks of {size} tokens. Received: {length} tokens."
            )
        if context is None:
            raise ValueError(
                f"{length} tokens are {length // size} blocks of {size}: pass the clean tokens as "
                "`context`, or one block and a `cache`."
            )
        earlier = length - size
        memories = self._read(context[:, :earlier], np.tri(earlier, dtype=bool), training=training)
        block = np.arange(length) // size
        mask = np.concatenate(
            [block[:, None] > block[None, :earlier], block[:, None] == block[None, :]], axis=1
        )
        return memories, mask

    def _read(self, tokens, mask, cache=None, start=None, training=False):
        """Keys and values of clean tokens, a pair a layer; `mask` as in `TransformerBlock`."""
        x, angles = self.embed(tokens, start=start)
        condition = self.condition(ops.zeros((ops.shape(tokens)[0],)))
        memories = []
        for i, block in enumerate(self.blocks):
            cached = cache is not None
            x, own = block(
                x,
                condition,
                angles,
                cache[i] if cached else None,
                mask,
                cached=cached,
                return_memory=True,
                training=training,
            )
            memories.append(own)
        return memories

    def empty_cache(self, batch_size, length):
        """Room for keys and values of `length` tokens but the last block, a pair a layer."""
        self._check_length(length)
        shape = (batch_size, self.num_heads, length - self.block_size, self.head_dim)
        dtype = attention_dtype(self.compute_dtype)
        return [tuple(ops.zeros(shape, dtype) for _ in range(2)) for _ in self.blocks]

    def extend(self, cache, tokens, start):
        """`cache` with a finished block `(batch, b)` that begins at position `start`."""
        mask = _beside(cache, start, np.tri(tokens.shape[1], dtype=bool))
        memories = self._read(tokens, mask, cache, start)
        return [
            tuple(
                ops.slice_update(old, (0, 0, start, 0), ops.cast(new, old.dtype))
                for old, new in zip(before, own, strict=True)
            )
            for before, own in zip(cache, memories, strict=True)
        ]

    def get_config(self):
        config = {**super().get_config(), "block_size": self.block_size}
        del config["grid"]
        return config


def _beside(cache, start, mask):
    """`mask` of a block's own tokens, with the cached ones before `start` beside it."""
    room = cache[0][0].shape[2]
    seen = ops.broadcast_to(ops.arange(room) < start, (mask.shape[0], room))
    return ops.concatenate([seen, mask], axis=1)
