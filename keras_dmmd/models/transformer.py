"""The parts of the denoiser: time embedding, adaptive layer norm, transformer block."""

import functools

import keras
from keras import layers, ops

from keras_dmmd import backend, checks, schedules
from keras_dmmd.models.positions import rotate


@keras.saving.register_keras_serializable("keras_dmmd")
class TimeEmbedding(layers.Layer):
    """Sinusoids of a time in [0, 1] through a small network: `(batch,)` to `(batch, dim)`.

    Args:
        dim: features.
        num_frequencies: of the sinusoids, from 1 down to 1/10,000.
        schedule: `None`: they are of `1000 t`. A schedule: of the noise level `-log α_t`, as in MDLM
            and Duo.
    """

    def __init__(self, dim, num_frequencies=64, schedule=None, **kwargs):
        kwargs["autocast"] = False  # in bfloat16, times near 1 would all be 1
        super().__init__(**kwargs)
        self.dim = checks.count("dim", dim)
        self.num_frequencies = checks.count("num_frequencies", num_frequencies, most=2**16)
        self.schedule = None if schedule is None else schedules.get(schedule)
        self.hidden = layers.Dense(dim, activation="silu", dtype=self.dtype_policy, name="hidden")
        self.out = layers.Dense(dim, dtype=self.dtype_policy, name="out")

    def build(self, input_shape):
        self.hidden.build((None, 2 * self.num_frequencies))
        self.out.build((None, self.dim))

    def call(self, t):
        t = ops.cast(t, "float32")
        if self.schedule is None:
            level = 1000.0 * t
        else:
            level = -ops.log(ops.maximum(self.schedule(t).alpha, 1e-20))
        octaves = ops.arange(self.num_frequencies, dtype="float32") / self.num_frequencies
        angles = ops.expand_dims(level, -1) * ops.exp(-octaves * 9.2103404)  # down to 1/10,000
        waves = ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
        return self.out(self.hidden(ops.cast(waves, self.compute_dtype)))

    def get_config(self):
        schedule = self.schedule and keras.saving.serialize_keras_object(self.schedule)
        return {
            **super().get_config(),
            "dim": self.dim,
            "num_frequencies": self.num_frequencies,
            "schedule": schedule,
        }


@keras.saving.register_keras_serializable("keras_dmmd")
class StepEmbedding(layers.Layer):
    """How far a step goes, `t - s`, as a vector `(batch, dim)`; it starts as 0.

    Args:
        dim: features.
    """

    def __init__(self, dim, **kwargs):
        kwargs["autocast"] = False
        super().__init__(**kwargs)
        self.dim = checks.count("dim", dim)
        self.waves = TimeEmbedding(dim, dtype=self.dtype_policy, name="waves")
        self.project = layers.Dense(
            dim, kernel_initializer="zeros", dtype=self.dtype_policy, name="project"
        )

    def build(self, input_shape):
        self.waves.build((None,))
        self.project.build((None, self.dim))

    def call(self, step_size):
        # Octaves: of steps of 1, 1/2, ... 1/1024 it is 0, 0.1, ... 1.
        octaves = -ops.log2(ops.clip(ops.cast(step_size, "float32"), 2.0**-10, 1.0))
        return self.project(self.waves(octaves / 10.0))

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


@keras.saving.register_keras_serializable("keras_dmmd")
class KnownEmbedding(layers.Layer):
    """Adds a vector to the tokens that are given; it starts as 0.

    Call arguments:
        x: `(batch, length, dim)`.
        known: which tokens are given, bool `(batch, length)`.
    """

    def build(self, input_shape):
        self.vector = self.add_weight(name="vector", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x, known):
        return x + ops.expand_dims(ops.cast(known, x.dtype), -1) * ops.cast(self.vector, x.dtype)


def modulate(x, shift, scale):
    """Adaptive layer norm's affine part: one shift and scale an example, `(batch, dim)`."""
    return x * (1.0 + ops.expand_dims(scale, 1)) + ops.expand_dims(shift, 1)


@keras.saving.register_keras_serializable("keras_dmmd")
class TransformerBlock(layers.Layer):
    """Bidirectional attention and an MLP, each under adaptive layer norm with a zero-initialised gate.

    Args:
        hidden_dim: features of a token.
        num_heads: attention heads; divides `hidden_dim`.
        mlp_dim: features inside the MLP.
        cond_dim: features of the conditioning vector.
        dropout: rate on both branches.
        norm_scale: whether the norms have a scale of their own, besides that of the condition.
        norm_epsilon: added to their variance.
        remat: whether gradients make again what lies between input and output, and keep that alone.
        seed: of the dropout.

    Call arguments:
        x: `(batch, length, hidden_dim)`.
        condition: `(batch, cond_dim)`.
        angles: rotary angles `(length, head_dim / 2)`, or `None`.
        memory: keys and values of other tokens to attend to, before the layer's own, a pair of
            `(batch, other, num_heads, head_dim)`, or `None`. In a `BlockDenoiser`'s cache a head's
            tokens lie together: `(batch, num_heads, other, head_dim)`, with `cached`.
        attention_mask: which of the other tokens and then its own a token attends to, bool
            `(length, other + length)`, or `(batch, heads or 1, length or 1, other + length)`; all of
            them by default.
        cached: whether the memory is a cache.
        return_memory: whether to return `x, (keys, values)`, in the order of `memory`.

    Reference:
        - [Scalable Diffusion Models with Transformers](https://arxiv.org/abs/2212.09748)
    """

    def __init__(
        self,
        hidden_dim,
        num_heads,
        mlp_dim,
        cond_dim,
        dropout=0.0,
        norm_scale=False,
        norm_epsilon=1e-6,
        remat=False,
        seed=0,
        **kwargs,
    ):
        kwargs["autocast"] = False  # in bfloat16 the angles of neighbours past 256 would be the same
        super().__init__(**kwargs)
        self.hidden_dim, self.num_heads = hidden_dim, num_heads
        self.mlp_dim, self.cond_dim, self.dropout = mlp_dim, cond_dim, dropout
        self.norm_scale, self.norm_epsilon, self.seed = norm_scale, norm_epsilon, seed
        self.remat = remat
        policy = self.dtype_policy
        norm = {"center": False, "scale": norm_scale, "epsilon": norm_epsilon, "dtype": policy}
        self.attention_norm = layers.LayerNormalization(name="attention_norm", **norm)
        self.mlp_norm = layers.LayerNormalization(name="mlp_norm", **norm)
        self.modulation = layers.Dense(
            6 * hidden_dim, kernel_initializer="zeros", dtype=policy, name="modulation"
        )
        self.qkv = layers.Dense(3 * hidden_dim, use_bias=False, dtype=policy, name="qkv")
        self.attention_out = layers.Dense(
            hidden_dim, use_bias=False, dtype=policy, name="attention_out"
        )
        self.mlp_in = layers.Dense(mlp_dim, activation=_gelu, dtype=policy, name="mlp_in")
        self.mlp_out = layers.Dense(hidden_dim, dtype=policy, name="mlp_out")
        # Without a seed, Torch would draw from its global stream, which no checkpoint holds.
        self.drop = layers.Dropout(dropout, seed=seed, dtype=policy, name="drop")

    def build(self, input_shape):
        tokens = (None, None, self.hidden_dim)
        self.attention_norm.build(tokens)
        self.mlp_norm.build(tokens)
        self.modulation.build((None, self.cond_dim))
        self.qkv.build(tokens)
        self.attention_out.build(tokens)
        self.mlp_in.build(tokens)
        self.mlp_out.build((None, None, self.mlp_dim))
        self.drop.build(tokens)

    def attend(self, x, angles, memory, attention_mask, cached):
        heads = (*ops.shape(x)[:2], self.num_heads, self.hidden_dim // self.num_heads)
        query, key, value = (ops.reshape(part, heads) for part in ops.split(self.qkv(x), 3, axis=-1))
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        own = key, value
        dtype = attention_dtype(self.compute_dtype)
        if cached:
            query, *own = (ops.transpose(part, (0, 2, 1, 3)) for part in (query, *own))
            pairs = ((ops.cast(part, dtype) for part in pair) for pair in (memory, own))
            mixed = attend_beside(ops.cast(query, dtype), *pairs, attention_mask)
            mixed = ops.transpose(mixed, (0, 2, 1, 3))
        else:
            if memory is not None:
                key, value = (ops.concatenate(pair, axis=1) for pair in zip(memory, own, strict=True))
            if attention_mask is not None and len(attention_mask.shape) == 2:
                attention_mask = ops.expand_dims(attention_mask, (0, 1))
            query, key, value = (ops.cast(part, dtype) for part in (query, key, value))
            mixed = ops.dot_product_attention(query, key, value, mask=attention_mask)
        mixed = ops.reshape(ops.cast(mixed, self.compute_dtype), (*heads[:2], self.hidden_dim))
        return self.attention_out(mixed), own

    def call(
        self,
        x,
        condition,
        angles=None,
        memory=None,
        attention_mask=None,
        cached=False,
        return_memory=False,
        training=False,
    ):
        dropped = training and self.dropout > 0.0
        tensors = [x, condition, *(memory or ())]
        if self.remat and dropped:  # drawn here, and kept: what is made again would draw others
            tensors += [self.drop(ops.ones_like(x), training=True) for _ in range(2)]

        def run(x, condition, *others):
            own_memory, kept = (others[:2], others[2:]) if memory is not None else (None, others)
            drops = [functools.partial(ops.multiply, factor) for factor in kept]
            drops = drops or [functools.partial(self.drop, training=training)] * 2
            return self._run(x, condition, angles, own_memory, attention_mask, cached, drops)

        x, *own = (backend.remat(run) if self.remat else run)(*tensors)
        return (x, tuple(own)) if return_memory else x

    def _run(self, x, condition, angles, memory, attention_mask, cached, drops):
        """A call; `drops` are what to apply to each branch. Returns `x, keys, values`."""
        shifts = ops.split(self.modulation(ops.silu(condition)), 6, axis=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = shifts
        normed = modulate(self.attention_norm(x), shift_a, scale_a)
        attended, own = self.attend(normed, angles, memory, attention_mask, cached)
        x = x + ops.expand_dims(gate_a, 1) * drops[0](attended)
        hidden = self.mlp_out(self.mlp_in(modulate(self.mlp_norm(x), shift_m, scale_m)))
        x = x + ops.expand_dims(gate_m, 1) * drops[1](hidden)
        return x, *own

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "cond_dim": self.cond_dim,
            "dropout": self.dropout,
            "norm_scale": self.norm_scale,
            "norm_epsilon": self.norm_epsilon,
            "remat": self.remat,
            "seed": self.seed,
        }


def attention_dtype(compute_dtype):
    """The dtype of queries, keys and values, in attention and in a cache.

    Sums in float16 could overflow. On a CPU, Torch's attention in half precision takes eight times as
    long to differentiate, and JAX's has no float16.
    """
    return "float32" if compute_dtype == "float16" or backend.on_cpu() else compute_dtype


def attend_beside(query, memory, own, mask):
    """Attention to a cache and to a canvas beside it, all `(batch, num_heads, tokens, head_dim)`.

    Their logits are put end to end, not their keys and values: the cache is long and read at every
    step, so it must not be copied or turned round for it.
    """
    (keys, values), (own_keys, own_values) = memory, own
    logits = [ops.matmul(query, ops.swapaxes(k, -1, -2)) for k in (keys, own_keys)]
    logits = ops.concatenate(logits, axis=-1) / query.shape[-1] ** 0.5
    logits = ops.where(mask, ops.cast(logits, "float32"), -float("inf"))
    weights = ops.cast(ops.softmax(logits, axis=-1), query.dtype)
    room = keys.shape[2]
    return ops.matmul(weights[..., :room], values) + ops.matmul(weights[..., room:], own_values)


def _gelu(x):
    return ops.gelu(x, approximate=True)
