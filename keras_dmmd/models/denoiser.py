"""The denoiser: a bidirectional transformer from corrupted tokens and a time to clean tokens."""

import keras
from keras import layers, ops

from keras_dmmd import checks
from keras_dmmd.models import noise as noise_layers
from keras_dmmd.models.positions import learned_positions, rotary_angles
from keras_dmmd.models.sizes import MOST_LAYERS, SIZES, check_sizes
from keras_dmmd.models.transformer import (
    KnownEmbedding,
    StepEmbedding,
    TimeEmbedding,
    TransformerBlock,
    modulate,
)


@keras.saving.register_keras_serializable("keras_dmmd")
class Denoiser(layers.Layer):
    """A transformer from corrupted tokens and a time to logits over clean tokens.

    Attention runs in both directions; time, and a class label where there is one, enter through
    adaptive layer norm. The logits are float32 under every dtype policy.

    Args:
        vocabulary_size: K, the number of clean tokens and of logits.
        num_states: ids that an input token can have; `K + 1`, room for a mask, by default.
        hidden_dim, num_layers, num_heads: the transformer's size.
        mlp_dim: features inside each MLP, `4 * hidden_dim` by default.
        cond_dim: features of the time and label vector.
        position: `"rotary"`, which takes any length, or `"learned"`, which needs `length` or `grid`.
        length: the longest sequence for learned positions.
        grid: `(rows, columns)`: the tokens are an image read row by row, and positions are 2-D.
        num_classes: labels `0 .. num_classes - 1` can be given; one more id means "no label".
        prompts: whether the network is told which tokens are given; without effect at first.
        self_conditioning: whether it is shown its last prediction; without effect at first.
        time_conditioning: whether it is told the time; a masked process shows it by its masks.
        step_conditioning: whether it is told how far a step goes; without effect at first.
        time_schedule: `None`, or the schedule by which it is told the noise level `-log α_t` instead.
        num_frequencies: sinusoids of the time.
        norm_scale, norm_epsilon: whether the layer norms have a scale of their own, and what is added
            to their variance.
        noise: the random input of a student: `None`, `"gaussian"`, `"pyramid"`, `"token"`, `"scalar"`
            or a `keras_dmmd.models.NoiseConditioning`.
        dropout: rate inside the blocks.
        remat: whether gradients make again what a block did, and keep its input alone: a fraction of
            the memory for a third more time.

    Call arguments:
        z_t: ids `(batch, length)`.
        t: times in [0, 1], `(batch,)`.
        labels: ids `(batch,)`, or `None`.
        known: which tokens are given, bool `(batch, length)`, or `None` for none of them.
        prediction: probabilities that the last call gave, `(batch, length, K)`, or `None` for none.
        valid: which positions are no padding, bool `(batch, length)`, or `None` for all.
        step_size: `t - s` of the step that is to be made, `(batch,)`, or `None` where nobody says.
        noise: what `sample_noise` returned, or `None`.

    Example:

    ```python
    denoiser = kd.Denoiser(vocabulary_size=17, grid=(8, 8), **kd.Denoiser.sizes["tiny"])
    z_t, t = np.full((2, 64), 17), np.array([1.0, 1.0])  # all masks
    logits = denoiser(z_t, t)  # (2, 64, 17)
    ```
    """

    sizes = SIZES
    padding = True

    def __init__(
        self,
        vocabulary_size,
        num_states=None,
        hidden_dim=128,
        num_layers=4,
        num_heads=4,
        mlp_dim=None,
        cond_dim=64,
        position="rotary",
        length=None,
        grid=None,
        num_classes=None,
        prompts=False,
        self_conditioning=False,
        time_conditioning=True,
        step_conditioning=False,
        time_schedule=None,
        num_frequencies=64,
        norm_scale=False,
        norm_epsilon=1e-6,
        noise=None,
        dropout=0.0,
        remat=False,
        **kwargs,
    ):
        kwargs["autocast"] = False  # times stay float32; the parts cast what they compute with
        super().__init__(**kwargs)
        K = self.vocabulary_size = checks.count("vocabulary_size", vocabulary_size)
        self.num_states = checks.count("num_states", K + 1 if num_states is None else num_states, K)
        self.hidden_dim = hidden_dim = checks.count("hidden_dim", hidden_dim)
        self.num_layers = checks.count("num_layers", num_layers, most=MOST_LAYERS)
        self.num_heads = num_heads = checks.count("num_heads", num_heads)
        self.mlp_dim = checks.count("mlp_dim", 4 * hidden_dim if mlp_dim is None else mlp_dim)
        self.cond_dim = cond_dim = checks.count("cond_dim", cond_dim)
        self.position = checks.choice("position", position, ("rotary", "learned"))
        self.grid = None if grid is None else checks.grid("grid", grid)
        self.length = None if length is None else checks.count("length", length)
        self.num_classes = None if num_classes is None else checks.count("num_classes", num_classes)
        self.prompts = checks.flag("prompts", prompts)
        self.self_conditioning = checks.flag("self_conditioning", self_conditioning)
        self.time_conditioning = checks.flag("time_conditioning", time_conditioning)
        self.step_conditioning = checks.flag("step_conditioning", step_conditioning)
        self.norm_scale = checks.flag("norm_scale", norm_scale)
        self.norm_epsilon = norm_epsilon = checks.number("norm_epsilon", norm_epsilon, above=0.0)
        self.dropout = dropout = checks.number("dropout", dropout, below=1.0)
        remat = checks.flag("remat", remat)
        check_sizes(self)
        policy = self.dtype_policy
        self.token_embedding = layers.Embedding(
            self.num_states, hidden_dim, dtype=policy, name="token_embedding"
        )
        self.time_embedding = TimeEmbedding(
            cond_dim, num_frequencies, time_schedule, dtype=policy, name="time_embedding"
        )
        if self.step_conditioning:
            self.step_embedding = StepEmbedding(cond_dim, dtype=policy, name="step_embedding")
        if self.num_classes:
            self.label_embedding = layers.Embedding(
                self.num_classes + 1, cond_dim, dtype=policy, name="label_embedding"
            )
        if self.prompts:
            self.known_embedding = KnownEmbedding(dtype=policy, name="known_embedding")
        if self.self_conditioning:
            self.prediction_embedding = layers.Dense(
                hidden_dim,
                use_bias=False,
                kernel_initializer="zeros",
                dtype=policy,
                name="prediction_embedding",
            )
        self.noise = noise_layers.get(noise, hidden_dim, self.grid, policy)
        self.blocks = [
            TransformerBlock(
                hidden_dim,
                num_heads,
                self.mlp_dim,
                cond_dim,
                dropout,
                norm_scale=self.norm_scale,
                norm_epsilon=norm_epsilon,
                remat=remat,
                seed=i,
                dtype=policy,
                name=f"block_{i}",
            )
            for i in range(self.num_layers)
        ]
        self.norm = layers.LayerNormalization(
            center=False, scale=self.norm_scale, epsilon=norm_epsilon, dtype=policy, name="norm"
        )
        self.modulation = layers.Dense(
            2 * hidden_dim, kernel_initializer="zeros", dtype=policy, name="modulation"
        )
        # Zero logits at first: a uniform guess, whatever the input.
        self.head = layers.Dense(K, kernel_initializer="zeros", dtype=policy, name="head")
        self.build()

    @property
    def head_dim(self):
        return self.hidden_dim // self.num_heads

    @property
    def remat(self):
        return self.blocks[0].remat

    @remat.setter
    def remat(self, remat):
        for block in self.blocks:
            block.remat = checks.flag("remat", remat)

    def build(self, input_shape=None):
        if self.built:
            return
        tokens = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
        self.time_embedding.build((None,))
        if self.step_conditioning:
            self.step_embedding.build((None,))
        if self.num_classes:
            self.label_embedding.build((None,))
        if self.position == "learned":
            rows, columns = self.grid or (self.length, None)
            shape = {"shape": (rows, self.hidden_dim), "initializer": _table_initializer()}
            self.row_embedding = self.add_weight(name="row_embedding", **shape)
            if columns is not None:
                shape = {"shape": (columns, self.hidden_dim), "initializer": _table_initializer()}
                self.column_embedding = self.add_weight(name="column_embedding", **shape)
        if self.prompts:
            self.known_embedding.build(tokens)
        if self.self_conditioning:
            self.prediction_embedding.build((None, None, self.vocabulary_size))
        if self.noise is not None and not self.noise.built:
            self.noise.build(tokens)
        for block in self.blocks:
            block.build(tokens)
        self.norm.build(tokens)
        self.modulation.build((None, self.cond_dim))
        self.head.build(tokens)
        self.built = True

    def _check_length(self, length):
        if self.grid is not None and length != self.grid[0] * self.grid[1]:
            raise ValueError(
                f"A denoiser over a grid of {self.grid} takes sequences of "
                f"{self.grid[0] * self.grid[1]} tokens. Received: {length} tokens."
            )
        if self.max_length is not None and length > self.max_length:
            raise ValueError(
                f"This denoiser has learned positions for {self.max_length} tokens. "
                f"Received: {length} tokens."
            )

    @property
    def max_length(self):
        """The most tokens that a table of learned positions has a place for, or `None`."""
        return self.length if self.grid is None and self.position == "learned" else None

    def sample_noise(self, batch_size, length, seed):
        """The random input of one call, or `None` for a denoiser without one."""
        if self.noise is None:
            return None
        return self.noise.sample(batch_size, length, seed)

    def embed(self, tokens, known=None, prediction=None, noise=None, start=None):
        """Ids to features, `(batch, length, hidden_dim)`, and rotary angles or `None`.

        Args:
            tokens: ids `(batch, length)`.
            known, prediction, noise: see `call`.
            start: the position of the first token, an integer tensor; `None` is 0.
        """
        length = tokens.shape[1]
        if length is not None:
            self._check_length(length)
        if known is not None and not self.prompts:
            raise ValueError("This denoiser takes no `known`: it was made without `prompts=True`.")
        if prediction is not None and not self.self_conditioning:
            raise ValueError(
                "This denoiser takes no `prediction`: it was made without `self_conditioning=True`."
            )
        x = self.token_embedding(tokens)
        angles = None
        if self.position == "learned":
            tables = self.row_embedding, None if self.grid is None else self.column_embedding
            x = x + ops.cast(learned_positions(*tables, length, start), x.dtype)
        elif length is not None:
            angles = rotary_angles(length, self.head_dim, self.grid, start)
        if known is not None:
            x = self.known_embedding(x, known)
        if prediction is not None:
            x = x + self.prediction_embedding(prediction)
        if self.noise is not None and noise is not None:
            x = x + self.noise(noise)
        return x, angles

    def condition(self, t, labels=None, step_size=None):
        """Times, labels and steps to the vector under which the blocks work, `(batch, cond_dim)`."""
        condition = self.time_embedding(t if self.time_conditioning else ops.zeros_like(t))
        if step_size is not None:
            if not self.step_conditioning:
                raise ValueError(
                    "This denoiser takes no `step_size`: it was made without `step_conditioning=True`."
                )
            condition = condition + self.step_embedding(step_size)
        if labels is not None and not self.num_classes:
            raise ValueError("This denoiser takes no labels: it was made without `num_classes`.")
        if self.num_classes:
            if labels is None:
                labels = ops.full_like(ops.cast(t, "int32"), self.num_classes)
            condition = condition + self.label_embedding(labels)
        return condition

    def finish(self, x, condition):
        """What the last block returned to what the head reads, `(batch, length, hidden_dim)`."""
        shift, scale = ops.split(self.modulation(ops.silu(condition)), 2, axis=-1)
        return modulate(self.norm(x), shift, scale)

    def logits(self, features):
        """Features to logits, `(..., hidden_dim)` to `(..., K)`, float32: the head, token by token."""
        return ops.cast(self.head(features), "float32")

    def call(self, z_t, t, labels=None, training=False, **told):
        return self.logits(self.features(z_t, t, labels, training=training, **told))

    def features(
        self,
        z_t,
        t,
        labels=None,
        known=None,
        prediction=None,
        step_size=None,
        valid=None,
        noise=None,
        training=False,
    ):
        """All of a call but its head, `(batch, length, hidden_dim)`; arguments as of a call."""
        x, angles = self.embed(z_t, known, prediction, noise)
        condition = self.condition(t, labels, step_size)
        mask = None if valid is None else ops.expand_dims(valid, (1, 2))  # of keys
        for block in self.blocks:
            x = block(x, condition, angles, attention_mask=mask, training=training)
        return self.finish(x, condition)

    def compute_output_shape(self, z_t_shape, *args, **kwargs):
        return (*z_t_shape, self.vocabulary_size)

    def get_config(self):
        noise = keras.saving.serialize_keras_object(self.noise) if self.noise is not None else None
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_states": self.num_states,
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "cond_dim": self.cond_dim,
            "position": self.position,
            "length": self.length,
            "grid": self.grid,
            "num_classes": self.num_classes,
            "prompts": self.prompts,
            "self_conditioning": self.self_conditioning,
            "time_conditioning": self.time_conditioning,
            "step_conditioning": self.step_conditioning,
            "time_schedule": self.time_embedding.get_config()["schedule"],
            "num_frequencies": self.time_embedding.num_frequencies,
            "norm_scale": self.norm_scale,
            "norm_epsilon": self.norm_epsilon,
            "noise": noise,
            "dropout": self.dropout,
            "remat": self.remat,
        }


def _table_initializer():
    return keras.initializers.RandomNormal(stddev=0.02)
