"""Killed at any moment, a run goes on to the same bits as one that was not."""

import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import small_model
from tests.oracles import toy

EPOCHS = 4


def data():
    return toy.samples(*toy.random_modes(0), 64, 0)


def teacher():
    keras.utils.set_random_seed(7)
    model = small_model(dropout=0.1)
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True))
    return model


def distiller():
    keras.utils.set_random_seed(7)
    model = kd.DMMDDistiller(small_model(), steps=2)
    model.compile()
    return model


class KillSelf(keras.callbacks.Callback):
    """`kill -9` in the middle of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1 and len(self.model.history.epoch) == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def train(make, folder, *callbacks):
    model = make()
    backup = keras.callbacks.BackupAndRestore(folder)
    model.fit(
        data(), batch_size=16, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[backup, *callbacks]
    )
    return model


def compare(make, backup, other):
    """Go on from `backup`, and do all of it again without interruption."""
    resumed = train(make, backup)
    assert len(resumed.history.epoch) < EPOCHS  # it did not start again
    straight = train(make, other)
    for a, b in (
        (resumed.variables, straight.variables),  # weights and random streams
        (resumed.optimizer.variables, straight.optimizer.variables),
    ):
        assert len(a) == len(b)
        for one, two in zip(a, b, strict=True):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(two), err_msg=one.path
            )


@pytest.mark.slow
@pytest.mark.parametrize("make", [teacher, distiller])
def test_killed_and_resumed_is_bit_equal(make, tmp_path):
    """Both in fresh processes: in this one, JAX may hold initializers that it compiled otherwise."""

    def run(call):
        script = f"from tests.training import test_resume as t; t.{call}"
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    backup, other = str(tmp_path / "backup"), str(tmp_path / "other")
    killed = run(f"train(t.{make.__name__}, {backup!r}, t.KillSelf())")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    compared = run(f"compare(t.{make.__name__}, {backup!r}, {other!r})")
    assert compared.returncode == 0, compared.stderr[-2000:]


@pytest.mark.parametrize("make", [teacher, distiller])
def test_truncated_weights_are_refused(make, tmp_path):
    model = make()
    model.save_weights(tmp_path / "good.weights.h5")
    content = (tmp_path / "good.weights.h5").read_bytes()
    (tmp_path / "cut.weights.h5").write_bytes(content[: len(content) // 2])
    before = model.get_weights()
    with pytest.raises(OSError, match="truncated or damaged"):
        model.load_weights(tmp_path / "cut.weights.h5")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.load_weights(tmp_path / "good.weights.h5")


def test_foreign_weights_are_refused_and_nothing_changes(tmp_path):
    other = small_model(kd.MaskedDiffusion(4))
    other.compile()
    other.save_weights(tmp_path / "other.weights.h5")
    model = teacher()
    before = model.get_weights()
    with pytest.raises(ValueError, match="does not fit"):
        model.load_weights(tmp_path / "other.weights.h5")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failed_save_leaves_the_last_good_file(tmp_path, monkeypatch):
    model = teacher()
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    good = path.read_bytes()

    def broken(store):
        raise RuntimeError("disk full")

    monkeypatch.setattr(model.denoiser, "save_own_variables", broken)
    with pytest.raises(RuntimeError, match="disk full"):
        model.save_weights(path)
    assert path.read_bytes() == good
    assert os.listdir(tmp_path) == [path.name]


def test_missing_file():
    with pytest.raises(FileNotFoundError, match="no weights file"):
        teacher().load_weights("nowhere.weights.h5")
