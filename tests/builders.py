"""Small models and data that many tests share."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend, metrics
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

# Of `compile`: TensorFlow takes seconds to trace a step that then runs a few times.
QUICKLY = {"run_eagerly": keras.backend.backend() == "tensorflow"}

K = 5
SMALL = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "cond_dim": 8}
PROCESSES = [
    kd.MaskedDiffusion(3),
    kd.UniformDiffusion(3),
    kd.UniformDiffusion(3, prediction="loo"),
    kd.HybridDiffusion(3),
]

# Of what is compiled for long elsewhere, and whose parts run on every backend.
ON_TORCH = pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiles for long")


def all_on_torch(names, values, first=1, ids=repr):
    """As `pytest.mark.parametrize`: all on Torch, the first on the others, where each is compiled."""
    rows = values if isinstance(names, tuple) else [(value,) for value in values]
    params = [pytest.param(*row, marks=ON_TORCH if i >= first else ()) for i, row in enumerate(rows)]
    return pytest.mark.parametrize(names, params, ids=ids)


def small_model(process=None, dtype=None, seed=0, **kwargs):
    """A model of one small block over 5 tokens."""
    process = process or kd.MaskedDiffusion(3)
    denoiser = kd.Denoiser(
        process.vocabulary_size,
        num_states=process.num_states,
        dtype=dtype,
        **{**SMALL, **kwargs},
    )
    return kd.DiffusionModel(denoiser, process, length=5, seed=seed)


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class TinyDenoiser(keras.layers.Layer):
    """Logits of a token from itself and what else the network is told: what compiles at once."""

    def __init__(
        self,
        vocabulary_size,
        num_states,
        num_classes=None,
        prompts=False,
        noise=None,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size, self.num_states = vocabulary_size, num_states
        self.num_classes, self.prompts = num_classes, prompts
        own = {"dtype": self.dtype_policy}
        self.table = keras.layers.Embedding(num_states, 8, name="token_embedding", **own)
        if num_classes:
            self.classes = keras.layers.Embedding(num_classes + 1, 8, name="label_embedding", **own)
        if prompts:
            self.known = keras.layers.Embedding(2, 8, name="known_embedding", **own)
        self.noise = kd.models.noise.get(noise, 8, None, self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, **own)
        self.head = keras.layers.Dense(vocabulary_size, name="head", **own)

    def build(self, input_shape=None):
        if self.built:
            return
        self.table.build((None, None))
        self.head.build((None, None, 9))
        if self.num_classes:
            self.classes.build((None,))
        if self.prompts:
            self.known.build((None, None))
        if self.noise is not None and not self.noise.built:
            self.noise.build(None)
        self.built = True

    def sample_noise(self, batch_size, length, seed):
        return None if self.noise is None else self.noise.sample(batch_size, length, seed)

    def call(self, z_t, t, labels=None, known=None, noise=None, training=False):
        x = self.table(z_t)
        if self.num_classes:
            labels = ops.full_like(z_t[:, 0], self.num_classes) if labels is None else labels
            x = x + self.classes(labels)[:, None]
        if known is not None:
            x = x + self.known(ops.cast(known, "int32"))
        if noise is not None:
            x = x + self.noise(noise)
        t = ops.broadcast_to(ops.cast(t, x.dtype)[:, None, None], (*ops.shape(z_t), 1))
        return self.head(ops.concatenate([self.dropout(x, training=training), t], axis=-1))

    def get_config(self):
        noise = None if self.noise is None else keras.saving.serialize_keras_object(self.noise)
        own = {name: getattr(self, name) for name in ("vocabulary_size", "num_states", "num_classes")}
        rate = self.dropout.rate
        return {**super().get_config(), **own, "prompts": self.prompts, "noise": noise, "dropout": rate}


def tiny_model(process=None, dtype=None, seed=0, words=3, **kwargs):
    """A model over 5 tokens that `TinyDenoiser` makes, of random weights."""
    process = process or kd.MaskedDiffusion(words)
    denoiser = TinyDenoiser(process.vocabulary_size, process.num_states, dtype=dtype, **kwargs)
    model = kd.DiffusionModel(denoiser, process, length=5, seed=seed)
    model.build()
    return randomise(model, seed)


def exact_model(process=None, seed=2, length=5, **kwargs):
    """The exact model of `toy.random_modes(seed)`."""
    process = process or kd.MaskedDiffusion(3)
    support, probabilities = toy.random_modes(seed)
    denoiser = ExactDenoiser(support, probabilities, process)
    return kd.DiffusionModel(denoiser, process, length=length, **kwargs)


def distiller(process=None, dtype=None, steps=2, **kwargs):
    """A distiller of a tiny model, for two calls."""
    return kd.DMMDDistiller(tiny_model(process, dtype=dtype), steps=steps, **kwargs)


def tokens(n=64, seed=0):
    """Rows of `toy.random_modes(0)`, ids `(n, 5)`."""
    return toy.samples(*toy.random_modes(0), n, seed)


def randomise(layer, seed=0, scale=0.3):
    """Give every weight random values, zero-initialised ones too, and return the layer."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed" not in weight.path:
            weight.assign(rng.normal(size=weight.shape).astype("float32") * scale)
    return layer


def key(seed=0):
    """A key for what takes one."""
    return kd.random.split(seed, 2)[0]


def numpy(x):
    return ops.convert_to_numpy(x)


def gradients(loss, *values):
    """Gradients of the sum of `loss` with respect to each of its arguments."""
    variables = [keras.Variable(value) for value in values]
    jax = keras.backend.backend() == "jax"
    with keras.StatelessScope() if jax else contextlib.nullcontext():
        _, grads = backend.value_and_grad(
            lambda: (ops.sum(loss(*(v.value for v in variables))), None), variables
        )
    return [ops.convert_to_numpy(grad) for grad in grads]


def batches(kind, x, batch_size):
    """The same data as each of the inputs that `fit` accepts."""
    if kind == "numpy":
        return x
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        return tf.data.Dataset.from_tensor_slices(x).batch(batch_size)
    if kind == "DataLoader":
        torch = pytest.importorskip("torch")
        dataset = torch.utils.data.TensorDataset(torch.as_tensor(x))
        return torch.utils.data.DataLoader(dataset, batch_size=batch_size)
    if kind == "Grain":
        grain = pytest.importorskip("grain")
        return grain.MapDataset.source(x).to_iter_dataset().batch(batch_size)

    class Rows(keras.utils.PyDataset):
        def __len__(self):
            return len(x) // batch_size

        def __getitem__(self, i):
            return (x[i * batch_size : (i + 1) * batch_size],)

    return Rows()


ALPHABET = "abc"
# p(next | last), of a, b, c and the end token that stands before a text; rows add up to 1.
TABLE = np.array(
    [[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.7, 0.1], [0.25, 0.25, 0.25, 0.25], [0.6, 0.3, 0.05, 0.05]]
)


class Bigrams(keras.Model):
    """Logits of the next token from the last, shifted by a constant, which must not matter."""

    def __init__(self):
        super().__init__()
        self.table = self.add_weight(shape=TABLE.shape, initializer="zeros")
        self.table.assign(np.log(TABLE) + 3.0)

    def call(self, inputs):
        return ops.take(self.table, inputs["token_ids"], axis=0)


def reference(**kwargs):
    """A judge whose likelihoods are sums over `TABLE`."""
    return metrics.CausalReference(Bigrams(), CharacterTokenizer(ALPHABET, end=True), **kwargs)
