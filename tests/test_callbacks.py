"""Samples and scores during `fit`."""

import csv

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import metrics
from keras_dmmd.callbacks import SampleAndScore
from tests.builders import small_model, tiny_model
from tests.oracles import toy

DATA = toy.samples(*toy.random_modes(0), 32, 0)


def ones(name="ones"):
    """The share of a token among samples."""
    return metrics.SampleScore(lambda ids: (ids == 1).mean(), name)


def test_figures_are_logs_for_the_callbacks_after_it(tmp_path):
    teacher = tiny_model()
    teacher.compile(keras.optimizers.Adam(1e-2))
    look = SampleAndScore([ones()], steps=2, samples=8, folder=tmp_path, seed=3)
    best = keras.callbacks.EarlyStopping(
        monitor="ones", mode="max", patience=0, restore_best_weights=True
    )
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = teacher.fit(
        DATA, batch_size=16, epochs=6, verbose=0, callbacks=[look, table, best]
    ).history["ones"]
    with open(tmp_path / "scores.csv") as file:
        assert [float(line["ones"]) for line in csv.DictReader(file)] == history
    with open(tmp_path / "log.csv") as file:
        assert [float(line["ones"]) for line in csv.DictReader(file)] == pytest.approx(history)
    assert (np.load(tmp_path / "samples_0001.npy") == 1).mean() == history[0]
    # The weights are those of the best epoch, which gives its samples again.
    top = int(np.argmax(history)) + 1
    np.testing.assert_array_equal(
        teacher.generate(8, steps=2, seed=3), np.load(tmp_path / f"samples_{top:04d}.npy")
    )


def test_figures_of_other_metrics_have_a_table_of_their_own(tmp_path):
    """And those of a run that goes on are in the one that was begun."""
    model = tiny_model()
    for names in (["a"], ["a", "b"], ["a"]):
        look = SampleAndScore([ones(name) for name in names], steps=1, samples=4, folder=tmp_path)
        look.set_model(model)
        look.on_epoch_end(0)
    tables = [(tmp_path / name).read_text().splitlines() for name in ("scores.csv", "scores_2.csv")]
    assert [table[0] for table in tables] == ["epoch,a", "epoch,a,b"]
    assert [len(table) for table in tables] == [3, 2]


def test_a_distiller_shows_its_student(tmp_path):
    distiller = kd.DMMDDistiller(tiny_model(), steps=3)
    distiller.compile()
    look = SampleAndScore([ones(), metrics.UnigramEntropy()], samples=4, every=2, folder=tmp_path)
    history = distiller.fit(DATA, batch_size=16, epochs=4, verbose=0, callbacks=[look]).history
    assert len(history["ones"]) == len(history["unigram_entropy_error"]) == 2
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_a_distiller_goes_back_to_its_best_student(tmp_path):
    """Its updates are steps of two optimizers, after which the best epoch's weights have to return."""
    distiller = kd.DMMDDistiller(tiny_model(), steps=2)
    distiller.compile(**kd.annealed_optimizers(12, 1e-1))
    look = SampleAndScore([ones()], samples=64, folder=tmp_path)
    best = keras.callbacks.EarlyStopping("ones", mode="max", patience=9, restore_best_weights=True)
    history = distiller.fit(DATA, batch_size=16, epochs=6, verbose=0, callbacks=[look, best]).history
    top = int(np.argmax(history["ones"])) + 1
    assert top < 6 or history["ones"][-1] > history["ones"][0]
    np.testing.assert_array_equal(
        distiller.student.generate(64, seed=0), np.load(tmp_path / f"samples_{top:04d}.npy")
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow, elsewhere slow")
def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    for model, key in ((small_model(), "text"), (small_model(grid=(1, 5)), "images")):
        folder = tmp_path / key
        model.compile()
        model.fit(
            DATA,
            batch_size=16,
            verbose=0,
            callbacks=[SampleAndScore([ones()], steps=1, samples=4, tensorboard=str(folder))],
        )
        (file,) = folder.rglob("events*")
        assert b"samples" in file.read_bytes() and key.encode() in file.read_bytes()


def test_bad_input():
    for name in ("self", "n", "verbose", "trajectory", "return_calls", "return_entropies", "other"):
        with pytest.raises((ValueError, TypeError), match=name):
            SampleAndScore([ones()], **{name: 1})
    with pytest.raises(ValueError, match="`prompts` must be ids here"):
        SampleAndScore([ones()], prompts=["a text"])
    with pytest.raises(ValueError, match="`every` must be an integer of at least 1.*=0"):
        SampleAndScore([ones()], every=0)
