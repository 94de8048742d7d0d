"""A function of every position, by tiles, is what it is of all at once, and so are its gradients."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dmmd import backend
from keras_dmmd.vocabulary import Logits, Tiles
from tests.builders import numpy

BATCH, LENGTH, WIDTH, K = 3, 7, 4, 11
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(BATCH, LENGTH, WIDTH)).astype("float32")
IDS = RNG.integers(0, K, (BATCH, LENGTH))
TIMES = RNG.uniform(size=BATCH).astype("float32")
WHERE = RNG.uniform(size=(BATCH, LENGTH)) < 0.4


def head():
    dense = layers.Dense(K)
    dense.build((None, WIDTH))
    dense.set_weights([RNG.normal(size=w.shape) for w in dense.get_weights()])
    return dense


def values(table, ids, times, nothing):
    """Cross-entropies weighted by time, and the largest logits."""
    assert nothing is None
    log_probs = ops.log_softmax(table, axis=-1)
    own = ops.squeeze(ops.take_along_axis(log_probs, ops.expand_dims(ids, -1), axis=-1), -1)
    return -own * ops.expand_dims(times, -1), ops.max(table, axis=-1)


def expected(weights, where):
    table = FEATURES.astype("float64") @ weights[0] + weights[1]
    log_probs = table - np.log(np.exp(table).sum(-1, keepdims=True))
    own = -np.take_along_axis(log_probs, IDS[..., None], -1)[..., 0] * TIMES[:, None]
    return own * where, table.max(-1) * where


@pytest.mark.parametrize("where", [None, WHERE, np.zeros_like(WHERE), np.ones_like(WHERE)])
@pytest.mark.parametrize("size", [None, 1, 4, 64])
def test_values(size, where):
    dense = head()
    given = None if where is None else ops.convert_to_tensor(where)

    def run(features, ids, times):
        return Tiles(size).map(values, Logits((features,), dense), ids, times, None, where=given)

    found = backend.compile_inference(run, dense.variables, None)(
        *(ops.convert_to_tensor(x) for x in (FEATURES, IDS, TIMES))
    )
    wanted = expected(dense.get_weights(), np.ones_like(WHERE) if where is None else where)
    for own, value in zip(found, wanted, strict=True):
        np.testing.assert_allclose(numpy(own), value, rtol=1e-5, atol=1e-6)


def gradients_of(size, where):
    """Gradients with respect to the weights of a head, and of what makes its features."""
    dense, before = head(), layers.Dense(WIDTH)
    before.build((None, WIDTH))
    before.set_weights([np.eye(WIDTH, dtype="float32"), np.zeros(WIDTH, "float32")])

    def loss():
        features = before(ops.convert_to_tensor(FEATURES))
        arguments = (
            Logits((features,), dense),
            ops.convert_to_tensor(IDS),
            ops.convert_to_tensor(TIMES),
        )
        first, largest = Tiles(size).map(values, *arguments, None, where=where)
        return ops.sum(first) + 0.3 * ops.sum(ops.square(largest)), {}

    variables = [*dense.trainable_variables, *before.trainable_variables]
    if keras.backend.backend() == "jax":
        with keras.StatelessScope():
            return [numpy(x) for x in backend.value_and_grad(loss, variables)[1]]
    return [numpy(x) for x in backend.value_and_grad(loss, variables)[1]]


@pytest.mark.parametrize("some", [False, True])
def test_gradients(some):
    where = ops.convert_to_tensor(WHERE) if some else None
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state
    wanted = gradients_of(None, where)
    for size in (2, 5):
        RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state
        for own, value in zip(gradients_of(size, where), wanted, strict=True):
            np.testing.assert_allclose(own, value, rtol=1e-5, atol=1e-6)
    assert all(np.abs(value).max() > 0.01 for value in wanted)


def test_a_function_of_one_value():
    dense = head()
    logits = Logits((ops.convert_to_tensor(FEATURES),), dense)
    found = Tiles(4).map(lambda table: ops.sum(table, axis=-1), logits)
    np.testing.assert_allclose(
        numpy(found), numpy(ops.sum(logits.table(), axis=-1)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("tiles", "words", "size"),
    [
        ("auto", 256, None),
        ("auto", 50_257, 256),
        ("auto", 262_144, 64),
        (True, 17, 2048),
        (False, 50_257, None),
        (5, 17, 5),
    ],
)
def test_sizes(tiles, words, size):
    assert Tiles.of(tiles, words).size == size
