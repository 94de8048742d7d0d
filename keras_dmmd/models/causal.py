"""A causal convolutional network over tokens: a judge of text that is no transformer."""

import keras
from keras import layers, ops

from keras_dmmd import checks, tokenizers


@keras.saving.register_keras_serializable("keras_dmmd")
class CausalConvolution(keras.Model):
    """Logits of the next token, from dilated causal convolutions (WaveNet, arXiv 1609.03499).

    A reference model for what diffusion models write should be of another kind than they are: this one
    reads left to right and attends to nothing. It looks back
    `1 + (kernel_size - 1) · (2^num_layers - 1)` tokens.

    Args:
        vocabulary_size: K, tokens `0 .. K - 1`; `start_id = K` stands before a text.
        hidden_dim: features.
        num_layers: residual blocks, with dilations 1, 2, 4, ….
        kernel_size: tokens of a convolution.
        tokenizer: whose ids it reads, kept with the model, or `None`.

    Call arguments:
        inputs: ids `(batch, length)`, or a dict with them as `"token_ids"`, as models of KerasHub take
            them. Returns float32 logits `(batch, length, K)` of the token that follows each.

    Example:

    ```python
    reference = kd.models.CausalConvolution(vocabulary_size=27, hidden_dim=32, num_layers=4)
    reference.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = np.random.default_rng(0).integers(0, 27, (64, 128))
    shifted = np.concatenate([np.full((64, 1), reference.start_id), tokens[:, :-1]], axis=1)
    reference.fit(shifted, tokens)
    ```
    """

    def __init__(
        self, vocabulary_size, hidden_dim=128, num_layers=6, kernel_size=3, tokenizer=None, **kwargs
    ):
        kwargs.setdefault("dtype", "float32")  # what it judges is the same under every policy
        super().__init__(**kwargs)
        self.vocabulary_size = checks.count("vocabulary_size", vocabulary_size)
        self.start_id = self.vocabulary_size
        self.hidden_dim = hidden_dim = checks.count("hidden_dim", hidden_dim)
        # The dilations of more are beyond every text.
        self.num_layers = num_layers = checks.count("num_layers", num_layers, most=30)
        self.kernel_size = kernel_size = checks.count("kernel_size", kernel_size)
        numbers = 2 * hidden_dim * (self.vocabulary_size + num_layers * hidden_dim * (kernel_size + 1))
        sizes = f"vocabulary_size={vocabulary_size}, hidden_dim={hidden_dim}, kernel_size={kernel_size}"
        checks.weights_fit(f"A network of {sizes}", numbers, self.variable_dtype)
        self.tokenizer = tokenizers.get(tokenizer)
        policy = {"dtype": self.dtype_policy}
        self.embedding = layers.Embedding(
            self.vocabulary_size + 1, hidden_dim, name="embedding", **policy
        )
        self.norms = [
            layers.LayerNormalization(name=f"norm_{i}", **policy) for i in range(num_layers + 1)
        ]
        self.convolutions = [
            layers.Conv1D(
                2 * hidden_dim,
                kernel_size,
                dilation_rate=2**i,
                padding="causal",
                activation="gelu",
                name=f"convolution_{i}",
                **policy,
            )
            for i in range(num_layers)
        ]
        self.projections = [
            layers.Dense(hidden_dim, name=f"projection_{i}", **policy) for i in range(num_layers)
        ]
        self.head = layers.Dense(
            self.vocabulary_size, kernel_initializer="zeros", name="head", **policy
        )
        self.build()

    def build(self, input_shape=None):
        if self.built:
            return
        self.embedding.build((None, None))
        for norm in self.norms:
            norm.build((None, None, self.hidden_dim))
        for convolution, projection in zip(self.convolutions, self.projections, strict=True):
            convolution.build((None, None, self.hidden_dim))
            projection.build((None, None, 2 * self.hidden_dim))
        self.head.build((None, None, self.hidden_dim))
        self.built = True

    def call(self, inputs, training=False):
        ids = inputs["token_ids"] if isinstance(inputs, dict) else inputs
        x = self.embedding(ids)
        parts = zip(self.norms, self.convolutions, self.projections, strict=False)
        for norm, convolution, projection in parts:
            x = x + projection(convolution(norm(x)))
        return ops.cast(self.head(self.norms[-1](x)), "float32")

    def get_config(self):
        return {
            "name": self.name,
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "kernel_size": self.kernel_size,
            "tokenizer": self.tokenizer and keras.saving.serialize_keras_object(self.tokenizer),
        }
