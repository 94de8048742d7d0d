"""DiffusionGemma, as KerasHub has it, as a denoiser of blocks."""

import keras
import keras_hub
import numpy as np
from keras import layers, ops

from keras_dmmd import checks
from keras_dmmd.models import changes, hub, int8
from keras_dmmd.models.additions import Additions
from keras_dmmd.models.plain import plain, plain_policy

CANVAS = 256  # tokens of DiffusionGemma's own canvas


@keras.saving.register_keras_serializable("keras_dmmd")
class DiffusionGemmaDenoiser(Additions, layers.Layer):
    """A DiffusionGemma, with its weights, that writes block after block as `BlockDenoiser` does.

    One transformer of Gemma 4 reads in two ways. Finished blocks are read causally, as its encoder
    reads a prompt, and leave their keys and values behind; a canvas of random tokens is read in both
    directions beside them. Local layers see `sliding_window_size - 1` tokens before the canvas. The
    network also sees its own last prediction of the canvas, through its layer of self-conditioning.

    It was trained with uniform diffusion and is told no time. What a student or a further training
    needs, time, given tokens and a random input, is added to the embeddings of the canvas and starts as
    0, so that at first the network is what it was. Text alone is read: a vision encoder has no part.

    Args:
        model: a `keras_hub.models.DiffusionGemmaBackbone`, or the `DiffusionGemmaBlockDiffusionLM`
            around one.
        block_size: tokens of a canvas; by default those of the language model, and 256 of a backbone.
        share: whether the weights are those of `model`, and change with it, or a copy.
        self_conditioning: whether the network is shown its last prediction, at the cost of a table
            `(batch, block_size, K)`; without, each call is as its first one.
        cond_dim: features of the time vector, or `None` for a network that is not told the time.
        prompts: whether the network is told which tokens of a canvas are given.
        noise: the random input of a student, see `keras_dmmd.Denoiser`.

    Raises:
        ImportError: this KerasHub has no DiffusionGemma.
        ValueError: it is another model, or one that reads in both directions everywhere.

    Call arguments:
        z_t: whole sequences of ids, `(batch, length)`, with `context`, or one canvas,
            `(batch, block_size)`, with `cache`.
        t: times `(batch,)`.
        known: which tokens are given, bool, or `None`.
        prediction: probabilities that the last call gave, `(…, K)`; `None`, or zeros in a row, for
            none.
        noise: what `sample_noise` returned, or `None`.
        context: clean ids `(batch, length)`. `None` is for a sequence of a single block.
        cache: what `empty_cache` and `extend` returned.
        start: the position of the canvas, an integer tensor.

    Example:

    ```python
    from keras_dmmd.models.diffusion_gemma import DiffusionGemmaDenoiser

    model = keras_hub.models.DiffusionGemmaBlockDiffusionLM.from_preset("diffusion_gemma_26b_a4b_it")
    denoiser = DiffusionGemmaDenoiser(model)
    teacher = kd.DiffusionModel(denoiser, kd.UniformDiffusion(denoiser.vocabulary_size), length=1024)
    ```

    Reference:
        - [Block Diffusion](https://arxiv.org/abs/2503.09573)
    """

    padding = False

    def __init__(
        self,
        model,
        block_size=None,
        share=True,
        self_conditioning=True,
        cond_dim=64,
        prompts=False,
        noise=None,
        **kwargs,
    ):
        kwargs["autocast"] = False
        backbone, canvas = _parts(model)
        if backbone.use_bidirectional_attention:
            raise ValueError(
                "`model` must read what is written causally: make it without "
                "`use_bidirectional_attention=True`."
            )
        kwargs.setdefault("dtype", plain_policy(backbone.dtype_policy))
        super().__init__(**kwargs)
        self.model = backbone if share else hub.clone(backbone)
        self.block_size = checks.count("block_size", canvas if block_size is None else block_size)
        self.self_conditioning = checks.flag("self_conditioning", self_conditioning)
        self.vocabulary_size = self.num_states = self.model.vocabulary_size
        self.make_additions(self.model.hidden_dim, cond_dim, prompts, noise)
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        self.build_additions(self.model.hidden_dim)
        self.built = True

    # The network ----------------------------------------------------------------------------------

    def _embed(self, tokens):
        """Embeddings of ids, at Gemma's scale: `(batch, length, hidden_dim)`."""
        x = self.model.token_embedding(tokens)
        return x * ops.cast(self.model.hidden_dim**0.5, x.dtype)

    def _table(self):
        """The vectors of all ids, `(K, hidden_dim)`, without scale."""
        table = self.model.token_embedding
        if changes.is_quantized(table):
            return table(ops.arange(self.vocabulary_size))
        return ops.convert_to_tensor(table.embeddings)

    def _embed_canvas(self, z_t, t, known, prediction, noise):
        """Embeddings of corrupted tokens, with all that the network is told of them."""
        x, part = self._embed(z_t), self.model.diffusion_self_conditioning
        if prediction is not None:
            if not self.self_conditioning:
                raise ValueError(
                    "This denoiser takes no `prediction`: it was made with `self_conditioning=False`."
                )
            # Zeros go through as zeros: no prediction, as at KerasHub's first call.
            table = self._table()
            soft = ops.matmul(ops.cast(prediction, table.dtype), table) * self.model.hidden_dim**0.5
            soft = part.pre_norm(ops.cast(soft, x.dtype))
            x = x + part.down_proj(_gelu(part.gate_proj(soft)) * part.up_proj(soft))
        return self.add(part.post_norm(x), t, known, noise)

    def call(self, z_t, t, training=False, **told):
        return self.logits(self.features(z_t, t, training=training, **told))

    def features(
        self,
        z_t,
        t,
        known=None,
        prediction=None,
        noise=None,
        context=None,
        cache=None,
        start=None,
        training=False,
    ):
        """All of a call but its head, `(batch, length, hidden_dim)`; arguments as of a call."""
        x = self._embed_canvas(z_t, t, known, prediction, noise)
        if cache is None:
            x = self._beside_context(x, context, training)
        else:
            x = self._beside_cache(x, cache, start, training)
        int8.differentiable(self.model.token_embedding)
        return self.model.layer_norm(x)

    def logits(self, features):
        """Features to logits, `(..., hidden_dim)` to `(..., K)`, float32: the head, token by token."""
        return ops.cast(self.model.token_embedding(features, reverse=True), "float32")

    def _beside_context(self, x, context, training):
        """All canvases through the layers, in one sequence behind the clean tokens that they see."""
        length, size = x.shape[1], self.block_size
        if length % size:
            raise ValueError(
                f"Sequences must be whole blocks of {size} tokens. Received: {length} tokens."
            )
        if context is None and length > size:
            raise ValueError(
                f"{length} tokens are {length // size} blocks of {size}: pass the clean tokens as "
                "`context`, or one block and a `cache`."
            )
        earlier = length - size
        if earlier:
            x = ops.concatenate([self._embed(context[:, :earlier]), x], axis=1)
        is_clean = np.arange(earlier + length) < earlier
        positions = np.concatenate([np.arange(earlier), np.arange(length)])
        windows = {_window(layer) for layer in self.model.transformer_layers}
        masks = {w: ops.convert_to_tensor(_mask(is_clean, positions, size, w)) for w in windows}
        for layer in self.model.transformer_layers:
            scalar = ops.where(
                is_clean[:, None],
                ops.convert_to_tensor(layer.encoder_layer_scalar),
                ops.convert_to_tensor(layer.layer_scalar),
            )
            x, _ = _run(layer, x, masks[_window(layer)], positions, scalar, training)
        return x[:, earlier:]

    def _beside_cache(self, x, cache, start, training):
        """One canvas through the layers, each beside its keys and values of what is before `start`."""
        size, start = x.shape[1], ops.cast(start, "int32")
        for layer, memory in zip(self.model.transformer_layers, cache, strict=True):
            window, first = _window(layer), 0
            if window is not None:  # no more of the cache than the layer looks at
                shape = list(ops.shape(memory))
                seen, shape[2] = shape[2], min(window - 1 + size, shape[2])
                first = ops.clip(start - (window - 1), 0, seen - shape[2])
                memory = ops.slice(memory, (0, 0, first, 0, 0), shape)
            keys = first + ops.arange(memory.shape[2], dtype="int32")
            mask = keys < start + size
            if window is not None:
                mask = ops.logical_and(mask, keys > start - window)
            mask = ops.broadcast_to(mask, (size, memory.shape[2]))
            positions = start + ops.arange(size, dtype="int32")
            scalar = layer.layer_scalar
            x, _ = _run(layer, x, mask, positions, scalar, training, memory, start - first)
        return x

    # Block after block ----------------------------------------------------------------------------

    def empty_cache(self, batch_size, length):
        """Room for keys and values of `length` tokens, a tensor a layer."""

        def room(attention):
            shape = (batch_size, 2, length, attention.effective_num_kv_heads, attention.head_dim)
            return ops.zeros(shape, attention.compute_dtype)

        return [room(layer.attention) for layer in self.model.transformer_layers]

    def extend(self, cache, tokens, start):
        """`cache` with a finished block `(batch, block_size)` that begins at position `start`."""
        x, start, extended = self._embed(tokens), ops.cast(start, "int32"), []
        positions = start + ops.arange(tokens.shape[1], dtype="int32")
        for layer, memory in zip(self.model.transformer_layers, cache, strict=True):
            back = positions[:, None] - ops.arange(memory.shape[2], dtype="int32")
            mask, window = back >= 0, _window(layer)
            if window is not None:
                mask = ops.logical_and(mask, back < window)
            scalar = layer.encoder_layer_scalar
            x, memory = _run(layer, x, mask, positions, scalar, False, memory, start)
            extended.append(memory)
        return extended

    # Serialisation --------------------------------------------------------------------------------

    def compute_output_shape(self, z_t_shape, *args, **kwargs):
        return (*z_t_shape, self.vocabulary_size)

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "model": plain(serialize(self.model), plain_policy(self.model.dtype_policy)),
            "block_size": self.block_size,
            "self_conditioning": self.self_conditioning,
            **self.additions_config(),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config["model"], dict):
            config["model"] = keras.saving.deserialize_keras_object(config["model"])
        return cls(**config)


def _parts(model):
    """The backbone of a DiffusionGemma, and the tokens of its canvas."""
    known = vars(keras_hub.models)
    if "DiffusionGemmaBackbone" not in known:
        raise ImportError(
            f"KerasHub {keras_hub.__version__} has no DiffusionGemma: it comes after 0.32, and "
            "keras-hub-nightly has it (pip install keras-hub-nightly)."
        )
    if isinstance(model, known["DiffusionGemmaBackbone"]):
        return model, CANVAS
    if isinstance(model, known["DiffusionGemmaBlockDiffusionLM"]):
        return model.backbone, model.canvas_length
    raise ValueError(
        "`model` must be a keras_hub DiffusionGemmaBackbone, or a DiffusionGemmaBlockDiffusionLM with "
        f"one. Received: {checks.shown(model)}"
    )


def _mask(is_clean, positions, size, window):
    """Who attends to what, bool numpy `(tokens, tokens)`: clean tokens, then those of all canvases.

    Clean tokens look back; a canvas sees the clean blocks before it, and itself. In a local layer a
    clean token sees `window` tokens, itself included, and a canvas `window - 1` before its first.
    """
    block = np.where(is_clean, -1, positions // size)  # of a token of a canvas
    last = np.where(is_clean, positions, block * size - 1)  # the last clean token that it sees
    back = last[:, None] - positions
    before = is_clean & (back >= 0)
    if window is not None:
        before &= back < np.where(is_clean, window, window - 1)[:, None]
    return before | (~is_clean[:, None] & (block[:, None] == block))


def _window(layer):
    """How many tokens a local layer sees when it reads, the token itself included; `None` for all."""
    is_local = layer.use_sliding_window_attention and not layer.is_global_attention
    return layer.sliding_window_size if is_local else None


def _run(layer, x, mask, positions, scalar, training, memory=None, start=0):
    """What a layer of DiffusionGemma does: features, and its cache with those of `x` from `start`.

    KerasHub's layer makes a mask by itself, for one canvas and a cache alone, and TensorFlow has no
    gradient through that cache. Its feed-forward part reads kernels as they are, integers too.

    Args:
        layer: a `DiffusionGemmaTransformerLayer`.
        x: `(batch, tokens, hidden_dim)`.
        mask: who attends to what, bool `(tokens, keys)`.
        positions: `(tokens,)`.
        scalar: by what the layer scales its output.
        training: whether units are dropped.
        memory: the layer's cache, `(batch, 2, keys, heads, head_dim)`, or `None`.
        start: where in it the tokens stand.
    """
    mixed, memory = layer.attention(
        layer.pre_attention_norm(x),
        attention_mask=ops.expand_dims(mask, 0),
        cache=memory,
        cache_update_index=start,
        positions=ops.expand_dims(positions, 0),
        training=training,
    )
    mixed = layer.post_attention_norm(mixed)
    x = x + (layer.attention_dropout(mixed, training=training) if layer.dropout else mixed)
    hidden = layer.pre_ffw_norm(x)
    hidden = layer.ffw_linear(_gelu(layer.gating_ffw(hidden)) * layer.gating_ffw_2(hidden))
    if layer.enable_moe_block:
        tokens = layer.pre_ffw_norm_moe(x)
        experts = layer.moe_expert_bank(
            ops.reshape(tokens, (-1, tokens.shape[-1])), layer.moe_router(x)
        )
        experts = layer.post_ffw_norm_moe_path(ops.reshape(experts, ops.shape(tokens)))
        hidden = layer.post_ffw_norm_dense(hidden) + experts
    hidden = layer.post_ffw_norm(hidden)
    x = x + (layer.feedforward_dropout(hidden, training=training) if layer.dropout else hidden)
    return x * ops.cast(scalar, x.dtype), memory


def _gelu(x):
    return ops.gelu(x, approximate=True)
