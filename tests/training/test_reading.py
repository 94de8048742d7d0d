"""What `fit`, `evaluate` and `predict` are given: checked, whatever holds it; labels as `y`."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.builders import batches, tiny_model, tokens

KINDS = ["numpy", "list", "tensor", "tf.data", "PyDataset", "DataLoader", "Grain", "generator"]


def compiled(**kwargs):
    keras.utils.set_random_seed(0)
    model = tiny_model(**kwargs)
    # What is read is read alike without compiling, of which TensorFlow takes seconds.
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=keras.backend.backend() == "tensorflow")
    return model


def given(kind, x):
    """Ids in what holds data, in batches of 8 where it comes in such."""
    if kind == "list":
        return x.tolist()
    if kind == "tensor":
        return ops.convert_to_tensor(x)
    if kind == "generator":
        return ((x[i : i + 8],) for i in range(0, len(x), 8))
    return batches(kind, x, 8)


def with_one(value, dtype="int64"):
    x = tokens(32).astype(dtype)
    x[17, 2] = value
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_ids_out_of_range_are_refused_and_nothing_is_lost(kind):
    model = compiled()
    before = model.get_weights()
    for value in (3, -1, 2**32 + 1):
        if (kind, keras.backend.backend()) == ("tensor", "jax") and value > 2**31:
            continue  # JAX has no such integers
        wrong = with_one(value, "int64")
        for call in (model.fit, model.evaluate, model.predict):
            with pytest.raises(ValueError, match="`tokens` must be ids from 0 to 2"):
                call(given(kind, wrong), verbose=0)
    after = model.get_weights()
    if kind in ("numpy", "list", "tensor"):
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(np.isfinite(a).all() for a in after)
    model.fit(tokens(32), verbose=0)


@pytest.mark.parametrize("kind", ["numpy", "tf.data", "PyDataset", "DataLoader", "generator"])
def test_fractions_are_refused(kind):
    model = compiled()
    for value in (np.nan, 0.5):
        with pytest.raises(ValueError, match="`tokens` must be"):
            model.fit(given(kind, with_one(value, "float32")), verbose=0)


def test_the_batch_is_named():
    with pytest.raises(ValueError, match="Batch 2 of the data: `tokens`.*to 7"):
        compiled().fit(given("generator", with_one(7)), verbose=0)


def without_batches(kind):
    """Data that hold nothing, which some kinds of them do not know before they were gone through."""
    if kind == "tf.data of unknown size":
        return batches("tf.data", tokens(8), 8).filter(lambda x: False)
    if kind == "DataLoader of unknown size":
        torch = pytest.importorskip("torch")

        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter(())

        return torch.utils.data.DataLoader(Stream(), batch_size=8)
    return given(kind, tokens(8)[:0])


@pytest.mark.parametrize(
    "kind",
    ["tf.data", "tf.data of unknown size", "PyDataset", "DataLoader", "DataLoader of unknown size"]
    + ["generator"],
)
def test_data_without_batches_are_refused(kind):
    model = compiled()
    before = model.get_weights()
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match="at least one batch"):
            call(without_batches(kind), verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="`validation_data`.*at least one batch"):
        model.fit(tokens(8), validation_data=without_batches(kind), verbose=0)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch", "predict_on_batch"])
def test_single_batches_are_read_too(method):
    with pytest.raises(ValueError, match="`tokens` must be ids"):
        getattr(compiled(), method)(with_one(3))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 2, 5), int), "flatten images"),
        (np.zeros((0, 5), int), "no examples"),
        ([[0, 1], [0]], "`tokens` must be"),
        (np.array([["a", "b"]]), "array of numbers"),
        ({"tokens": np.zeros((4, 5), int), "known": np.full((4, 5), 0.5)}, "zeros and ones"),
        ({"tokens": np.zeros((4, 5), int), "known": np.full((4, 5), np.nan)}, "zeros and ones"),
        ({"tokens": np.zeros((4, 5), int), "known": np.zeros((4, 3), bool)}, "`known` must have shape"),
        ({"tokens": np.zeros((4, 5), int), "labels": np.zeros(4, int)}, "takes no labels"),
        ({"tokens": np.zeros((4, 5), int), "more": np.zeros(4)}, "entry 'tokens'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_arrays_are_refused(x, message):
    model = compiled()
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ValueError, match=message):
            call(x, verbose=0)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(32, 3), "`labels` must be ids from 0 to 2"),
        (np.full(32, -1), "`labels` must be ids"),
        (np.full(32, 0.5), "`labels` must be integers"),
        (np.zeros((32, 1), int), "`labels` must have shape"),
        (np.eye(2)[np.zeros(32, int)], "`labels` must have shape"),
        (np.zeros(31, int), "one label per example"),
    ],
)
def test_labels_are_checked(y, message):
    with pytest.raises(ValueError, match=message):
        compiled(num_classes=2).fit(tokens(32), y, verbose=0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(32, np.nan), "must be finite.*index 0"),
        (np.where(np.arange(32) == 5, np.inf, 1.0), "must be finite.*index 5"),
        (np.ones((32, 5)), "one weight per example"),
        (np.ones(31), "one weight per example"),
    ],
)
def test_weights_are_checked(weights, message):
    with pytest.raises(ValueError, match=message):
        compiled().fit(tokens(32), sample_weight=weights, verbose=0)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sample_weight", (tokens(32), np.zeros(32, int), np.ones((32, 5)))),
        ("labels", (tokens(32), np.zeros((32, 2), int))),
        ("tokens", tokens(32)[:, :, None]),
    ],
    ids=["weights", "labels", "images"],
)
def test_shapes_in_a_data_set_are_checked(name, parts):
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match=f"`{name}`"):
        compiled(num_classes=2).fit(tf.data.Dataset.from_tensor_slices(parts).batch(8), verbose=0)


@pytest.mark.parametrize("kind", ["arrays", "tf.data", "PyDataset", "DataLoader", "generator"])
def test_y_is_labels(kind):
    """Training by `(x, y)` is training by `{"tokens": x, "labels": y}`."""
    x, y = tokens(32), np.arange(32) % 2
    results = []
    for pair in (({"tokens": x, "labels": y},), (x, y)):
        model = compiled(num_classes=2)
        data = pair if kind == "arrays" else (pairs(kind, pair),)
        model.fit(*data, batch_size=None if kind != "arrays" else 8, shuffle=False, verbose=0)
        results.append([*model.get_weights(), model.evaluate(*pair, verbose=0)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def pairs(kind, parts):
    """Batches of 8 of `(x,)` or `(x, y)`."""

    def batch(i):
        found = tuple(keras.tree.map_structure(lambda a: a[8 * i : 8 * i + 8], part) for part in parts)
        # Keras takes generators and, on JAX and TensorFlow, loaders of tuples alone.
        return found if len(found) > 1 or kind in ("generator", "DataLoader") else found[0]

    if kind == "generator":
        return (batch(i) for i in range(4))
    if kind == "tf.data":
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(8)
    if kind == "DataLoader":
        import torch

        return torch.utils.data.DataLoader([batch(i) for i in range(4)], batch_size=None)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return batch(i)

    return Batches()


def test_labels_given_twice_or_for_nothing():
    x, y = tokens(32), np.zeros(32, int)
    with pytest.raises(ValueError, match="given twice"):
        compiled(num_classes=2).fit({"tokens": x, "labels": y}, y, verbose=0)
    with pytest.raises(ValueError, match="takes no labels"):
        compiled().fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="class_weight"):
        compiled(num_classes=2).fit(x, y, class_weight={0: 1.0, 1: 2.0}, verbose=0)


def test_validation_has_labels_and_weights():
    x, y = tokens(32), np.arange(32) % 2
    model = compiled(num_classes=2)
    w = (np.arange(8) < 3).astype("float32")
    history = model.fit(x, y, validation_data=(x[:8], y[:8], w), batch_size=8, verbose=0).history
    weighted = model.evaluate(x[:8], y[:8], sample_weight=w, verbose=0, return_dict=True)
    np.testing.assert_allclose(history["val_bits_per_dim"], weighted["bits_per_dim"], rtol=1e-6)
    model = compiled()
    history = model.fit(x, validation_data=(x[:8], None, w), verbose=0).history
    few = model.evaluate(x[:3], verbose=0, return_dict=True)
    np.testing.assert_allclose(history["val_bits_per_dim"], few["bits_per_dim"], rtol=1e-5)


# Evaluation ---------------------------------------------------------------------------------------


def test_evaluation_does_not_depend_on_the_batches():
    model = compiled()
    x = tokens(37)
    whole = model.evaluate(x, batch_size=37, verbose=0, return_dict=True)
    assert model.evaluate(x, batch_size=37, verbose=0, return_dict=True) == whole
    nats = model.predict(x, batch_size=37, verbose=0)
    for batch_size in (1, 5):
        parts = model.evaluate(x, batch_size=batch_size, verbose=0, return_dict=True)
        for name in ("loss", "bits_per_dim", "bits_per_dim_error"):
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4)
        np.testing.assert_allclose(model.predict(x, batch_size=batch_size, verbose=0), nats, rtol=1e-4)
    bits = nats / 5 / np.log(2)
    np.testing.assert_allclose(whole["bits_per_dim"], bits.mean(), rtol=1e-5)
    np.testing.assert_allclose(whole["bits_per_dim_error"], bits.std(ddof=1) / 37**0.5, rtol=1e-3)


def test_the_error_of_a_single_row_is_unknown():
    model = compiled()
    one, two = (model.evaluate(tokens(n), verbose=0, return_dict=True) for n in (1, 2))
    assert np.isnan(one["bits_per_dim_error"]) and two["bits_per_dim_error"] > 0
    assert np.isfinite(one["bits_per_dim"])


@pytest.mark.parametrize("kind", ["numpy", "tf.data", "PyDataset"])
def test_more_corruptions_of_a_row_come_closer(kind):
    model = compiled()
    x = tokens(64)
    one = model.evaluate(batches(kind, x, 8), verbose=0, return_dict=True)
    many = model.evaluate(batches(kind, x, 8), corruptions=16, verbose=0, return_dict=True)
    assert many["bits_per_dim_error"] < 0.6 * one["bits_per_dim_error"]
    close = 4 * (one["bits_per_dim_error"] + many["bits_per_dim_error"])
    assert abs(many["bits_per_dim"] - one["bits_per_dim"]) < close
    again = model.evaluate(batches(kind, x, 8), verbose=0, return_dict=True)
    assert again == one


def test_bits_are_a_mean_over_open_tokens():
    """Rows with 5, 1 and no open tokens: weights 5, 1 and 0."""
    model = compiled()
    known = np.zeros((3, 5), bool)
    known[1, 1:] = known[2] = True
    data = {"tokens": tokens(3), "known": known}
    nats = model.predict(data, verbose=0)
    assert nats[2] == 0.0
    result = model.evaluate(data, verbose=0, return_dict=True)
    np.testing.assert_allclose(result["bits_per_dim"], nats.sum() / 6 / np.log(2), rtol=1e-5)


def test_a_distillers_losses_are_means_over_examples():
    """In batches of 4 and 1: not the mean of two means."""
    distiller = kd.DMMDDistiller(tiny_model(), steps=2)
    distiller.compile()
    x = tokens(5)
    values = distiller.predict(x, batch_size=4, verbose=0)
    result = distiller.evaluate(x, batch_size=4, verbose=0, return_dict=True)
    for name, value in values.items():
        np.testing.assert_allclose(result[name], value.mean(), rtol=1e-5)
