"""TensorFlow's `MirroredStrategy`: two replicas are one device with the same batch."""

import contextlib
import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import random
from keras_dmmd.training.batches import read_batches
from tests.builders import batches, numpy, tiny_model, tokens

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a strategy of TensorFlow"
)


def scope(replicas):
    """The scope of a strategy, or of none for one replica."""
    return contextlib.nullcontext() if replicas == 1 else two_replicas().scope()


@functools.cache  # a second strategy's collective operations would meet those of the first
def two_replicas():
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def on_one_and_two(run):
    """What `run()` returns on one replica and on two, lists of arrays."""
    found = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with scope(replicas):
            found.append([np.asarray(value, "float64") for value in run()])
    return found


def assert_same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def weights(*models):
    return [numpy(v) for model in models for v in model.trainable_variables]


def logs(history):
    return [value for _, value in sorted(history.history.items())]


def test_a_teacher():
    """In graphs: losses, clipped updates, an average, a last batch that leaves one replica nothing."""
    x, share = tokens(9), np.linspace(0.5, 2.0, 9).astype("float32")

    def run():
        model = tiny_model()
        optimizer = keras.optimizers.Adam(0.05, global_clipnorm=0.5, use_ema=True, ema_momentum=0.5)
        model.compile(optimizer)
        history = model.fit(x, sample_weight=share, batch_size=4, epochs=2, verbose=0)
        return [*logs(history), *weights(model), *model.evaluate(x, batch_size=4, verbose=0)]

    assert_same(*on_one_and_two(run))


def test_copies_of_a_row_are_not_divided():
    with scope(2):
        model = tiny_model()
        model.compile("sgd")
        with pytest.raises(ValueError, match="`corruptions=2` under a strategy of 2 replicas"):
            model.evaluate(tokens(4), corruptions=2, verbose=0)


def test_micro_batches():
    """In graphs: a replica without rows has one part, of none; nothing waits for others in a part."""

    def run():
        model = tiny_model()
        model.compile(keras.optimizers.SGD(0.1, global_clipnorm=1.0), micro_batches=2)
        return [*logs(model.fit(tokens(9), batch_size=4, verbose=0)), *weights(model)]

    assert_same(*on_one_and_two(run))


@pytest.mark.parametrize("method", [kd.DMMDDistiller, kd.Di4CDistiller])
def test_a_distiller(method):
    """All optimizers, and statistics over tokens or rows."""
    x = tokens(7)

    def run():
        models = [tiny_model(seed=seed, noise=noise) for seed, noise in ((0, None), (1, "scalar"))]
        more = [tiny_model(seed=2)] if method is kd.DMMDDistiller else []
        distiller = method(*models, *more, steps=2)
        distiller.compile(keras.optimizers.SGD(0.1, global_clipnorm=0.5), run_eagerly=True)
        history = distiller.fit(x, batch_size=4, verbose=0)
        return [*logs(history), *weights(distiller.student, *([distiller.critic] if more else []))]

    assert_same(*on_one_and_two(run))


def test_draws_of_replicas_are_the_rows_of_one_device():
    import tensorflow as tf

    def draws(x):
        with random.batch_rows(ops.shape(x)[0]):
            return random.uniform((ops.shape(x)[0], 3), 5), random.stratified(ops.shape(x)[0], 6)

    with scope(2):
        strategy = tf.distribute.get_strategy()
        data = tf.data.Dataset.from_tensor_slices(np.arange(7)).batch(7)
        batch = next(iter(strategy.experimental_distribute_dataset(data)))
        found = strategy.run(draws, args=(batch,))
        parts = [strategy.experimental_local_results(value) for value in found]
    assert all(len(part) == 2 and len(part[0]) and len(part[1]) for part in parts)
    for part, whole in zip(parts, draws(np.arange(7)), strict=True):
        joined = np.concatenate([numpy(value) for value in part])
        np.testing.assert_array_equal(joined, numpy(whole))
        assert len(np.unique(joined, axis=0)) == 7


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_a_loss_that_is_infinite_on_one_replica_is_left_out_on_both(dtype):
    share = np.ones(8, "float32")
    share[1] = 3e38  # times a loss, and so its gradient, too large for float32
    with scope(2):
        model = tiny_model(dtype=dtype)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
        before = weights(model)
        model.fit(tokens(8)[:4], sample_weight=share[:4], batch_size=4, shuffle=False, verbose=0)
        assert model.history.history["skipped"] == [1.0]
        for old, variable in zip(before, model.trainable_variables, strict=True):
            for value in two_replicas().experimental_local_results(variable.value):
                np.testing.assert_array_equal(value.numpy(), old)
        again = model.fit(tokens(8)[4:], batch_size=4, verbose=0)
        assert again.history["skipped"] == [0.0] and (weights(model)[0] != before[0]).any()


def test_a_run_that_was_interrupted_goes_on(tmp_path):
    x = tokens(8)

    def fit(epochs, folder):
        model = tiny_model()
        model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
        backup = kd.callbacks.BackupAndResume(folder, delete_checkpoint=False)
        model.fit(x, batch_size=4, epochs=epochs, verbose=0, callbacks=[backup])
        return weights(model)

    with scope(2):
        expected = fit(2, tmp_path / "whole")
        fit(1, tmp_path / "parts")
        for a, b in zip(expected, fit(2, tmp_path / "parts"), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_made_outside_of_the_scope():
    """`fit` may be called there; an optimizer of its own is refused."""
    x = tokens(4)
    with scope(2):
        model = tiny_model()
        model.compile("sgd", run_eagerly=True)
    assert model.fit(x, batch_size=4, verbose=0).history["skipped"] == [0.0]
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="within `with strategy.scope"):
        model.fit(x, batch_size=4, verbose=0)


def test_predictions_keep_their_order():
    x = tokens(7)

    def run():
        model = tiny_model()
        model.compile(run_eagerly=True)
        return [model.predict(x, batch_size=3, verbose=0)]

    assert_same(*on_one_and_two(run))


@pytest.mark.parametrize("kind", ["numpy", "tf.data", "DataLoader", "Grain"])
def test_every_row_is_seen_once_an_epoch(kind):
    """The last batch, of one row, leaves one replica none."""
    x = (np.arange(9 * 5) % 97).reshape(9, 5)
    model = kd.DiffusionModel(tiny_model(words=97).denoiser, kd.MaskedDiffusion(97))
    source = read_batches(model.reader, batches(kind, x, 4), batch_size=4, shuffle=True)
    with scope(2):
        strategy = two_replicas()
        parts = strategy.experimental_distribute_dataset(source.get_tf_dataset())
        for _ in range(2):
            found = []
            for batch in parts:
                batch = batch[0] if isinstance(batch, tuple) else batch
                found += [numpy(part) for part in strategy.experimental_local_results(batch)]
            assert [len(part) for part in found] == [2, 2, 2, 2, 1, 0]
            np.testing.assert_array_equal(
                sorted(map(tuple, np.concatenate(found))), sorted(map(tuple, x))
            )
