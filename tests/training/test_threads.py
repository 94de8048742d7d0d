"""Training and sampling at once: a sentence between threads, and the right weights in callbacks."""

import threading

import keras
import numpy as np
import pytest

from tests.builders import distiller, tiny_model, tokens


class Hold(keras.callbacks.Callback):
    """Training waits within its second batch until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.inside, self.go_on = threading.Event(), threading.Event()

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.inside.set()
            assert self.go_on.wait(60)


def in_background(work):
    """Start work in a thread; returns a function that waits for its end, and raises what it raised."""
    raised = []

    def run():
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def finish():
        thread.join(60)
        assert not thread.is_alive() and not raised, raised

    return finish


def trained_and_read():
    model = tiny_model()
    yield model, [model]
    made = distiller()
    yield made, [made.student, made.teacher]


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.long_compilation)])
def test_what_one_thread_trains_no_other_reads(index):
    trained, read = list(trained_and_read())[index]
    trained.compile()
    hold = Hold()
    finish = in_background(lambda: trained.fit(tokens(), verbose=0, callbacks=[hold]))
    try:
        assert hold.inside.wait(60)
        for model in read:
            for call in (
                lambda model=model: model.generate(2, steps=1),
                lambda model=model: model.predict(tokens(), verbose=0),
                lambda model=model: model.copy(),
                lambda: trained.fit(tokens(), verbose=0),
            ):
                with pytest.raises(RuntimeError, match=f"'{trained.name}' is being trained"):
                    call()
        other = tiny_model()  # which has nothing to do with it
        assert other.generate(2, steps=1).shape == (2, 5)
    finally:
        hold.go_on.set()
        finish()
    for model in read:  # afterwards all is as ever
        assert model.generate(2, steps=1).shape == (2, 5)


def test_what_a_thread_reads_no_other_trains():
    model = tiny_model()
    model.compile()
    inside, go_on = threading.Event(), threading.Event()

    def sample(*args):
        inside.set()
        assert go_on.wait(60)
        raise ZeroDivisionError  # what ends in an error ends, too

    model._samplers["auto"] = sample
    finish = in_background(lambda: pytest.raises(ZeroDivisionError, model.generate))
    try:
        assert inside.wait(60)
        with pytest.raises(RuntimeError, match=f"reads weights of '{model.name}'"):
            model.fit(tokens(), verbose=0)
        model.predict(tokens(4), verbose=0)  # two may read
    finally:
        go_on.set()
        finish()
    model.fit(tokens(), verbose=0)


class Look(keras.callbacks.Callback):
    """Samples, and the weights they are of, after every batch."""

    def __init__(self, student):
        super().__init__()
        self.student, self.seen = student, []

    def on_train_batch_end(self, batch, logs=None):
        samples = self.student.generate(8, steps=2)
        self.seen.append((samples, self.student.get_weights()))


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.long_compilation)])
def test_a_callback_samples_in_the_middle_of_an_epoch(index):
    """With the weights of that moment, and training goes on as if nobody had looked."""
    finals = []
    for looks in (True, False):
        keras.utils.set_random_seed(0)
        trained, (model, *_) = list(trained_and_read())[index]
        trained.compile()
        look = Look(model)
        callbacks = [look] if looks else []
        trained.fit(tokens(96), shuffle=False, verbose=0, callbacks=callbacks)
        finals.append(model.get_weights())
        if looks:
            seen = look.seen
    for a, b in zip(*finals, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(seen) == 3
    other = model.copy(noise=None) if index == 0 else model
    for samples, weights in seen:
        other.set_weights(weights)
        np.testing.assert_array_equal(samples, other.generate(8, steps=2))
