"""Updates that are not finite are left out and counted; a run of them ends training."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.training import updates
from tests.builders import randomise, small_model, tiny_model, tokens


class Breaking(kd.MaskedDiffusion):
    """Loses its head over rows that begin with a 2: their loss is what it is told."""

    def __init__(self, vocabulary_size=3, value=float("nan"), **kwargs):
        super().__init__(vocabulary_size, **kwargs)
        self.value = value

    def loss(self, logits, x, z_t, t, where=None):
        values = super().loss(logits, x, z_t, t, where)
        return values * ops.where(ops.equal(x[:, 0], 2), self.value, 1.0)

    def get_config(self):
        return {**super().get_config(), "value": self.value}


def state(model):
    return [ops.convert_to_numpy(v) for v in (*model.trainable_variables, *model.optimizer.variables)]


def run(x, value, policy=None, optimizer="adam", epochs=1, **kwargs):
    keras.utils.set_random_seed(0)
    model = small_model(Breaking(3, value), dtype=policy)
    model.compile(optimizer)
    history = model.fit(x, batch_size=8, shuffle=False, epochs=epochs, verbose=0, **kwargs).history
    return model, history


def good_and_bad():
    """32 rows in batches of 8, of which the second has a row that breaks."""
    x = tokens(32)
    x[:, 0] = np.minimum(x[:, 0], 1)
    bad = x.copy()
    bad[9, 0] = 2
    return x, bad


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_an_update_that_is_not_finite_changes_nothing(value, optimizer):
    """Training with a bad batch is training without it; only the draws are one batch further."""
    x, bad = good_and_bad()
    model, history = run(bad[:16], value, optimizer=optimizer)
    other, clean = run(x[:8], value, optimizer=optimizer)
    assert history["skipped"] == [1.0] and clean["skipped"] == [0.0]
    assert np.isfinite(history["loss"]).all()
    np.testing.assert_allclose(history["loss"], clean["loss"], rtol=1e-5)
    for a, b in zip(state(model), state(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    model.fit(x, batch_size=8, verbose=0)
    assert all(np.isfinite(a).all() for a in state(model))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_half_precision(policy):
    model, history = run(good_and_bad()[1], np.nan, policy=policy)
    assert history["skipped"][0] >= 1
    assert all(np.isfinite(a).all() for a in state(model))


def test_a_run_of_them_stops_training(monkeypatch):
    monkeypatch.setattr(updates, "PATIENCE", 6)
    x = tokens(64)
    x[:, 0] = 2
    model = tiny_model(Breaking(3, float("nan")))
    model.compile()
    for _ in range(20):  # on JAX another thread counts, and must not take the state that a step has
        with pytest.raises(FloatingPointError, match="6 updates up to epoch 1, batch 6.*learning rate"):
            model.fit(x, batch_size=8, verbose=0)
    # One that is finite begins the count anew: three in a row at the most.
    x[::32, 0] = 0
    x[1:8, 0] = x[33:40, 0] = 0
    _, history = run(x, np.nan, epochs=2)
    assert history["skipped"] == [6.0, 6.0]


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_a_diverged_run_goes_on_from_its_last_good_file(save_freq, tmp_path, monkeypatch):
    """As soon as what made it diverge is gone; until then the files stay, and say so."""

    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                variable = self.model.trainable_variables[0]
                variable.assign(variable * np.nan)

    monkeypatch.setattr(updates, "PATIENCE", 6)
    model = tiny_model()
    model.compile("sgd")

    def fit(*callbacks):
        backup = kd.callbacks.BackupAndResume(tmp_path, save_freq)
        options = {"batch_size": 8, "epochs": 5, "verbose": 0}
        return model.fit(tokens(32), callbacks=[*callbacks, backup], **options)

    for _ in range(2):
        with pytest.raises(FloatingPointError, match="6 updates up to epoch 4, batch 2"):
            fit(Poison())
        assert (
            max(path.name for path in tmp_path.glob("*.h5")) == "epoch_00002_step_00000000.weights.h5"
        )
    history = fit()
    assert history.epoch == list(range(5)) and history.history["skipped"] == [0.0] * 5
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.parametrize("order", [(1, 3, 5, 7), (3, 1, 7, 5), (7, 5, 3, 1)])
def test_batches_are_counted_in_order(monkeypatch, order):
    """On JAX Keras speaks to callbacks from several threads, at times of a later batch first."""
    monkeypatch.setattr(updates, "PATIENCE", 3)
    guard = updates.Guard()
    guard.set_model(keras.Model())
    # Two steps at a time, as with `steps_per_execution=2`. The second pair of them was finite; of
    # pairs with one that was finite nothing says which; at last three pairs were not.
    pairs = [{1: 2, 3: 2, 5: 4, 7: 5}, {1: 1, 3: 2, 5: 3, 7: 4}, {1: 0, 3: 2, 5: 4, 7: 6}]
    for skipped, raises in zip(pairs, (False, False, True), strict=True):
        guard.on_epoch_begin(0)
        for batch in sorted(order):
            guard.on_train_batch_begin(batch - 1)
        for batch in order:
            guard.on_train_batch_end(batch, {"skipped": float(skipped[batch])})
        assert (guard.where is not None) == raises
        guard.in_a_row = 0
    assert guard.where == "4 updates up to epoch 1, batch 6"


@pytest.mark.parametrize("role", ["student", "critic"])
def test_a_distiller_leaves_out_what_is_not_finite(role):
    """A role whose loss is NaN for good stays as it is, and the other goes on."""
    keras.utils.set_random_seed(0)
    teacher = tiny_model()
    distiller = kd.DMMDDistiller(teacher, critic=randomise(teacher.copy(), seed=1), steps=2)
    distiller.compile()
    models = {name: getattr(distiller, name).trainable_variables for name in ("student", "critic")}
    before = {name: [ops.convert_to_numpy(v) for v in own] for name, own in models.items()}
    losses = distiller.role_losses

    def broken(own, inputs, key):
        values, logs = losses(own, inputs, key)
        return (values * np.nan if own == role else values), logs

    distiller.role_losses = broken
    history = distiller.fit(tokens(32), batch_size=8, verbose=0).history
    assert history["skipped"] == [4.0]
    assert all(np.isfinite(values).all() for values in history.values())
    for name, own in models.items():
        after = [ops.convert_to_numpy(v) for v in own]
        same = [np.array_equal(a, b) for a, b in zip(before[name], after, strict=True)]
        assert all(same) if name == role else not all(same)


def test_evaluation_does_not_speak_of_it():
    model, _ = run(tokens(8), 1.0)
    assert "skipped" not in model.evaluate(tokens(8), verbose=0, return_dict=True)


# Interruptions ------------------------------------------------------------------------------------

EAGERLY = keras.backend.backend() == "tensorflow"  # which has no state that a loop could keep


class Stop(keras.callbacks.Callback):
    def __init__(self, batch, error):
        super().__init__()
        self.batch, self.error = batch, error

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.batch:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")], ids=repr)
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_an_error_takes_no_weights_along(error, batch):
    """In the first batch nothing has changed; later the updates before it were made."""
    x = tokens(32)
    keras.utils.set_random_seed(0)
    model = tiny_model()
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True), run_eagerly=EAGERLY)
    with pytest.raises(type(error)):
        model.fit(x, batch_size=8, shuffle=False, verbose=0, callbacks=[Stop(batch, error)])
    keras.utils.set_random_seed(0)
    other = tiny_model()
    other.compile(keras.optimizers.Adam(1e-2, use_ema=True), run_eagerly=EAGERLY)
    for i in range(batch):
        other.train_on_batch(x[8 * i : 8 * i + 8])
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    model.fit(x, verbose=0)
    model.evaluate(x, verbose=0)


def test_a_first_batch_that_is_refused_takes_no_optimizer_along():
    """What the first `fit` has just made goes on, too."""
    x = tokens(8)
    models = []
    for data in ([], [(x + 99,)]):
        model = tiny_model()
        model.compile("adam", run_eagerly=EAGERLY)
        for batch in data:
            with pytest.raises(ValueError, match="Batch 0 of the data"):
                model.fit((part for part in [batch]), verbose=0)
        model.fit(x, shuffle=False, verbose=0)
        models.append(model)
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)
