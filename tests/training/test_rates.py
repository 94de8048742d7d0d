"""As many updates as were asked for, or a warning of a rate that is still high."""

import itertools
import warnings

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.training.batches import ArrayBatches
from tests.builders import distiller, numpy, tiny_model, tokens


def schedule(updates):
    return keras.optimizers.schedules.CosineDecay(1e-3, updates, alpha=0.05)


def fit(updates, data, accumulated=None, **options):
    """The updates made, and the messages of warnings about rates."""
    model = tiny_model()
    adam = keras.optimizers.Adam(schedule(updates), gradient_accumulation_steps=accumulated)
    model.compile(adam)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(data, verbose=0, **options)
    said = [str(w.message) for w in caught if "learning rate" in str(w.message)]
    return int(numpy(model.optimizer.iterations)), said


@pytest.mark.parametrize("weighted", [False, True])
def test_arrays_are_gone_through_as_often_as_asked_for(weighted):
    """10 batches a pass, 3 epochs of 7 steps: Keras would make 20 of these 21 updates."""
    weights = {"sample_weight": np.ones(40)} if weighted else {}
    options = {"batch_size": 4, "steps_per_epoch": 7, "epochs": 3, **weights}
    assert fit(21, tokens(40), **options) == (21, [])


def test_a_rate_falls_with_batches_whose_gradients_are_accumulated():
    assert fit(10, tokens(40), accumulated=2, batch_size=4) == (5, [])


@pytest.mark.plain
@pytest.mark.parametrize("skipped", [0, 2, 3, 7])
def test_every_row_comes_once_a_pass(skipped):
    """Three batches a pass; a run that goes on finds the batches that it would have had."""

    def batches(skipped):
        own = ArrayBatches((np.arange(10)[:, None],), 4, 9, shuffle=True, is_endless=True)
        own.begin(skipped=skipped)
        return itertools.islice(own.get_numpy_iterator(), 12 - skipped)

    rows = [batch[0][:, 0] for batch in batches(0)]
    passes = [np.concatenate(rows[i : i + 3]) for i in (0, 3, 6, 9)]
    assert all(sorted(order) == list(range(10)) for order in passes)
    assert len({tuple(order) for order in passes}) == 4
    again = [batch[0][:, 0] for batch in batches(skipped)]
    assert all(np.array_equal(a, b) for a, b in zip(rows[skipped:], again, strict=True))


def generator():
    for start in range(0, 40, 4):
        yield (tokens(40)[start : start + 4],)


def test_data_that_run_out_are_warned_of():
    made, said = fit(28, generator(), steps_per_epoch=7, epochs=4)
    assert made < 28 and len(said) == 1
    assert f"after {made} of 28 updates" in said[0] and "run out" in said[0]
    # Half of a schedule, of which the rest may follow.
    made, said = fit(20, tokens(40), batch_size=4)
    assert made == 10 and "after 10 of 20" in said[0] and "it is still 0.00052" in said[0]


def test_what_is_no_reason_to_warn():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    assert fit(20, tokens(40), batch_size=4, epochs=2, callbacks=[Stop()]) == (10, [])
    assert fit(11, tokens(40), batch_size=4) == (10, [])  # nearly there


@pytest.mark.long_compilation
def test_a_distiller_says_it_once():
    made = distiller()
    made.compile(**kd.annealed_optimizers(30))
    with pytest.warns(UserWarning, match="after 10 of 30 updates") as caught:
        made.fit(tokens(40), batch_size=4, verbose=0)
    assert len([w for w in caught if "learning rate" in str(w.message)]) == 1
