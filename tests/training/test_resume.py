"""Killed at any moment, a run goes on to the same bits as one that was not."""

import contextlib
import os
import signal
import subprocess
import sys

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.training import batches, checkpointing, remembering, sealed
from tests.builders import ON_TORCH, QUICKLY, small_model, tiny_model, tokens
from tests.oracles import toy

EPOCHS = 4


def data():
    return toy.samples(*toy.random_modes(0), 60, 0)  # 4 batches of 16, of which the last has 12 rows


def teacher():
    keras.utils.set_random_seed(7)
    model = tiny_model(dropout=0.1)
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True))
    return model


def distiller():
    keras.utils.set_random_seed(7)
    model = kd.DMMDDistiller(tiny_model(), steps=2)
    model.compile()
    return model


class Break(keras.callbacks.Callback):
    """Ends `fit` in the middle of an epoch, by an error or by `kill -9`."""

    def __init__(self, epoch, batch, kill=False):
        super().__init__()
        self.where, self.kill = (epoch, batch), kill

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.where:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt


def fit(model, folder, *callbacks, x=None, save_freq=3, epochs=EPOCHS, **kwargs):
    backup = kd.callbacks.BackupAndResume(folder, save_freq=save_freq)
    x = data() if x is None else x
    kwargs = {"batch_size": 16} | kwargs if isinstance(x, np.ndarray) else kwargs
    return model.fit(x, epochs=epochs, verbose=0, callbacks=[backup, *callbacks], **kwargs)


def everything(model):
    return [*model.variables, *model.optimizer.variables]


def assert_same(one, other):
    """Weights, random streams and optimizers, to the bit."""
    assert len(everything(one)) == len(everything(other))
    for a, b in zip(everything(one), everything(other), strict=True):
        a, b = (keras.ops.convert_to_numpy(v) for v in (a, b))
        np.testing.assert_array_equal(a, b)


def values(model):
    return [keras.ops.convert_to_numpy(v) for v in everything(model)]


def made(make):
    """A model, and a function that sets it back to where it began."""
    model = make()
    model.optimizer.build(model.trainable_variables)
    first = values(model)

    def begin_anew():
        keras.utils.set_random_seed(7)
        for variable, value in zip(everything(model), first, strict=True):
            variable.assign(value)

    return model, begin_anew


def assert_resumes(make, folder, epoch, batch, callbacks=(), **kwargs):
    """Broken off there, and gone on from other weights, it comes to the same as without a break.

    One model is all three, so that one is compiled.
    """
    kwargs = {name: value if callable(value) else (lambda v=value: v) for name, value in kwargs.items()}
    model, begin_anew = made(make)

    def run(folder, *more):
        own = [make_one() for make_one in callbacks]
        own_kwargs = {name: value() for name, value in kwargs.items()}
        return fit(model, folder, *own, *more, **own_kwargs), own

    begin_anew()
    history, own = run(folder / "other")
    expected = values(model)
    begin_anew()
    with pytest.raises(KeyboardInterrupt):
        run(folder / "backup", Break(epoch, batch))
    begin_anew()
    for variable in everything(model):  # a file has all of it
        variable.assign(np.ones(variable.shape, variable.dtype))
    again, others = run(folder / "backup")
    for a, b in zip(values(model), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.epoch == history.epoch and again.history == history.history
    for a, b in zip(own, others, strict=True):
        plain = {k: v for k, v in vars(a).items() if isinstance(v, (int, float, str))}
        assert plain == {k: vars(b)[k] for k in plain}
    assert not any(name.endswith(".h5") for name in os.listdir(folder / "backup"))


@pytest.mark.parametrize(
    ("make", "shuffle"), [(teacher, True), (teacher, False), (teacher, "batch"), (distiller, True)]
)
def test_to_the_step(make, shuffle, tmp_path):
    assert_resumes(make, tmp_path, 2, 2, shuffle=shuffle)


@pytest.mark.parametrize(
    ("save_freq", "epoch", "batch"),
    [
        ("epoch", 1, 0),
        ("epoch", 2, 3),
        pytest.param(1, 1, 3, marks=pytest.mark.long_compilation),
        (4, 3, 3),
        pytest.param(5, 1, 3, marks=pytest.mark.long_compilation),
    ],
)
def test_at_any_frequency(save_freq, epoch, batch, tmp_path):
    x = data()
    told = {"validation_data": (x[:20],), "save_freq": save_freq}
    assert_resumes(teacher, tmp_path, epoch, batch, **told)


def test_several_steps_per_execution(tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("Torch has a step per execution")

    def make():
        keras.utils.set_random_seed(7)
        model = tiny_model()
        model.compile("adam", steps_per_execution=2)
        return model

    assert_resumes(make, tmp_path, 2, 2, save_freq=2)


def test_another_number_of_steps_per_execution_loses_no_batches(tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("Torch has a step per execution")
    model = teacher()
    with pytest.raises(KeyboardInterrupt):
        fit(model, tmp_path, Break(1, 3), save_freq=1)
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True), steps_per_execution=4)
    with pytest.raises(ValueError, match="after 3 batches.*steps_per_execution=4"):
        fit(model, tmp_path)


def test_other_callbacks_go_on(tmp_path):
    """Two that would act in the third and fourth epoch, by what they saw in the ones before."""
    callbacks = [
        lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=2, mode="max", factor=0.5),
        lambda: keras.callbacks.EarlyStopping(
            "loss", patience=4, mode="max", restore_best_weights=True
        ),
        # Of which Keras turns the sign, once in each process.
        lambda: keras.callbacks.EarlyStopping("loss", min_delta=0.01, patience=9, mode="min"),
    ]
    assert_resumes(teacher, tmp_path, 3, 2, callbacks, epochs=8)


def test_averages_that_are_swapped_in_go_on(tmp_path):
    """A file of an epoch's end has the average for weights."""
    callbacks = [lambda: keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    assert_resumes(teacher, tmp_path, 2, 2, callbacks, save_freq="epoch")


def test_new_arguments_of_callbacks_and_optimizers_are_taken(tmp_path):
    """And no argument is written, however large."""

    class Counts(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.name, self.data, self.seen = name, np.zeros(1000), 0

        def on_epoch_end(self, epoch, logs=None):
            self.seen += 1

    model, begun, again = teacher(), Counts("old"), Counts("new")
    with pytest.raises(KeyboardInterrupt):
        fit(model, tmp_path, begun, Break(2, 2), save_freq=1)
    path = tmp_path / "epoch_00002_step_00000002.weights.h5"
    assert all(array.size < 1000 for array in sealed.open_seal(path)[1].values())
    model.compile(keras.optimizers.Adam(1e-3, use_ema=True))
    fit(model, tmp_path, again)
    assert (begun.seen, again.seen, again.name) == (2, 4, "new")
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == np.float32(1e-3)


def test_what_a_callback_had_from_a_file_is_written_again(tmp_path):
    """Though it has not changed since the same callback began to go on."""

    class Best(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.best = None

        def on_epoch_end(self, epoch, logs=None):
            self.best = logs["loss"] if self.best is None else self.best

    first, last = Best(), Best()
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            fit(teacher(), tmp_path, first, Break(epoch, 2), save_freq=1)
    fit(teacher(), tmp_path, last)
    assert last.best == first.best


def test_a_run_that_was_stopped_ends_in_its_best_weights_again(tmp_path):
    ends = []
    for _ in range(2):
        model = tiny_model()
        model.compile(keras.optimizers.Adam(0.05), **QUICKLY)
        stop = keras.callbacks.EarlyStopping("loss", mode="max", restore_best_weights=True)
        backup = kd.callbacks.BackupAndResume(tmp_path, delete_checkpoint=False)
        model.fit(data(), epochs=9, verbose=0, callbacks=[stop, backup])
        ends.append(model.denoiser.get_weights())
    assert stop.stopped_epoch
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


def test_odd_attributes_and_logs_end_no_training(tmp_path):
    class Odd(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.names = None

        def on_epoch_end(self, epoch, logs=None):
            self.names = np.array(["a", "b"])
            logs["told"] = "nothing"

    history = fit(teacher(), tmp_path, Odd(), save_freq=1)
    assert history.history["told"] == ["nothing"] * EPOCHS


def test_what_is_kept_of_attributes():
    """Those that have changed; arrays of what HDF5 has no type for as those of one that it has."""
    arrays, half = {}, np.full(2, 1 / 3, ml_dtypes.bfloat16)
    own = {"half": half, "list": [1, np.float32(0.5)], "text": np.array("a"), "argument": np.arange(3)}
    given = remembering.texts({"argument": np.arange(3), "list": [1]})
    kept = remembering.unpack(remembering.pack(own, given, "own", arrays), arrays)
    assert kept == {"half": pytest.approx(half.astype("float32"), abs=0), "list": [1, 0.5]}
    assert all(array.dtype.kind in "biuf" for array in arrays.values())


@pytest.mark.parametrize("kind", ["tf.data", "DataLoader", "PyDataset", "labels"])
def test_any_data(kind, tmp_path):
    """What shuffles by a global stream, by a seed and the number of passes, or in its own hook."""
    if kind == "labels":

        def make():
            keras.utils.set_random_seed(7)
            model = tiny_model(num_classes=2)
            model.compile("adam")
            return model

        assert_resumes(make, tmp_path, 2, 2, y=np.arange(60) % 2, sample_weight=np.linspace(0, 1, 60))
        return

    def source():
        if kind == "tf.data":
            tf = pytest.importorskip("tensorflow")
            rows = tf.data.Dataset.from_tensor_slices(data())
            return rows.shuffle(60, seed=1, reshuffle_each_iteration=True).batch(16)
        if kind == "DataLoader":
            torch = pytest.importorskip("torch")
            torch.manual_seed(3)  # as Keras's seed does on Torch alone
            rows = torch.utils.data.TensorDataset(torch.as_tensor(data()))
            return torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True)
        return Shuffled()

    assert_resumes(teacher, tmp_path, 2, 2, x=source)


class Shuffled(keras.utils.PyDataset):
    """Reorders what it has after every epoch, by a stream of its own."""

    def __init__(self):
        super().__init__()
        self.x, self.rng = data(), np.random.default_rng(0)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return (self.x[16 * i : 16 * i + 16],)

    def on_epoch_end(self):
        self.x = self.rng.permutation(self.x)


def test_steps_per_epoch(tmp_path):
    """Epochs of two batches, so that two of them are a pass."""
    assert_resumes(teacher, tmp_path, 3, 1, steps_per_epoch=2, save_freq=1)


def test_the_order_of_arrays_is_the_seeds():
    """The same on every backend, another one in every pass and for another seed."""
    x = np.arange(10)[:, None]

    def order(seed, passes, **kwargs):
        own = batches.ArrayBatches((x,), 4, shuffle=True, seed=[seed], **kwargs)
        own.begin(passes)
        return [batch[0][:, 0].tolist() for batch in own.get_numpy_iterator()]

    expected = np.random.default_rng([5, 2]).permutation(10)
    assert order(5, 2) == [expected[:4].tolist(), expected[4:8].tolist(), expected[8:].tolist()]
    assert order(5, 2) != order(5, 3) and order(5, 2) != order(6, 2)
    assert (
        order(5, 0, repeats=2)[2]
        == np.repeat(np.random.default_rng([5, 0]).permutation(10)[8:], 2).tolist()
    )


def test_calls_of_fit_have_orders_of_their_own(monkeypatch):
    seen, given = [], batches.ArrayBatches._batches

    def watched(self):
        for batch in given(self):
            seen.extend(batch[0][:, 0].tolist())
            yield batch

    monkeypatch.setattr(batches.ArrayBatches, "_batches", watched)
    model = tiny_model(kd.MaskedDiffusion(20))
    model.compile("adam")
    x = np.tile(np.arange(20)[:, None], 5)
    for _ in range(2):
        model.fit(x, batch_size=10, epochs=2, verbose=0)
    passes = [tuple(seen[-80:][i : i + 20]) for i in range(0, 80, 20)]
    assert len(set(passes)) == 4 and all(sorted(rows) == list(range(20)) for rows in passes)


# What can go wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "accumulated"), [(None, None), (2, None), (None, 2)])
def test_a_run_whose_weights_are_loaded_goes_on_in_its_order(steps, accumulated, tmp_path):
    """The second call of `fit`, of three batches a pass, from the file after its first epoch."""
    x, options = tokens(20), {"batch_size": 8, "steps_per_epoch": steps, "epochs": 3, "verbose": 0}
    models = [tiny_model(), tiny_model(seed=1)]
    for model in models:
        model.seed = 3
        adam = keras.optimizers.Adam(0.05, gradient_accumulation_steps=accumulated)
        model.compile(adam, **QUICKLY)
    files = keras.callbacks.ModelCheckpoint(f"{tmp_path}/{{epoch}}.weights.h5", save_weights_only=True)
    models[0].fit(x, batch_size=8, verbose=0)
    models[0].fit(x, callbacks=[files], **options)
    models[1].load_weights(f"{tmp_path}/1.weights.h5")
    models[1].fit(x, initial_epoch=1, **options)
    assert_same(*models)


def broken_off(folder, make=teacher, save_freq=1, **kwargs):
    """A folder with the two checkpoints of a run that was broken off; their names."""
    with pytest.raises(KeyboardInterrupt):
        fit(make(), folder, Break(2, 2), save_freq=save_freq, **kwargs)
    return sorted(name for name in os.listdir(folder) if name.endswith(".h5"))


@ON_TORCH
def test_a_damaged_file_is_told_and_the_one_before_is_taken(tmp_path):
    """By a single bit of a weight."""
    straight = teacher()
    fit(straight, tmp_path / "other")
    first, last = broken_off(tmp_path / "b")
    assert (first, last) == (
        "epoch_00002_step_00000001.weights.h5",
        "epoch_00002_step_00000002.weights.h5",
    )
    with h5py.File(tmp_path / "b" / last, "r") as file:
        place = file["denoiser/head/vars/0"].id.get_offset()
    content = bytearray((tmp_path / "b" / last).read_bytes())
    content[place] ^= 1
    (tmp_path / "b" / last).write_bytes(content)
    resumed = teacher()
    with pytest.warns(UserWarning, match=f"{last}.*truncated or damaged"):
        fit(resumed, tmp_path / "b")
    assert_same(resumed, straight)


def test_bits_that_flip_are_seen(tmp_path):
    model = small_model()
    model.compile()
    path = tmp_path / "own.weights.h5"
    model.save_weights(path)
    content, before = path.read_bytes(), [keras.ops.convert_to_numpy(v) for v in everything(model)]
    refused = 0
    for place in np.random.default_rng(0).integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(place % 8)
        path.write_bytes(flipped)
        try:
            model.load_weights(path)
        except OSError as error:
            assert path.name in str(error)
            refused += 1
        for a, b in zip(everything(model), before, strict=True):  # refused, or without a meaning
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), b)
    assert refused > 10


def test_all_files_damaged(tmp_path):
    for name in broken_off(tmp_path):
        (tmp_path / name).write_bytes(b"no file of ours")
    with pytest.warns(UserWarning), pytest.raises(OSError, match="Every checkpoint"):
        fit(teacher(), tmp_path)
    assert len(os.listdir(tmp_path)) == 3  # they and the lock are left where they are


def test_another_model_is_refused(tmp_path):
    names = broken_off(tmp_path)
    other = small_model(hidden_dim=32)
    other.compile(keras.optimizers.Adam(1e-2, use_ema=True))
    with pytest.raises(ValueError, match="does not fit this DiffusionModel"):
        fit(other, tmp_path)
    # Another number of random streams is another model.
    other = tiny_model(dropout=0.0)
    other.compile(keras.optimizers.Adam(1e-2, use_ema=True))
    with pytest.raises(ValueError, match="random streams"):
        fit(other, tmp_path)
    with pytest.raises(ValueError, match="an epoch of 4 batches. Received: data of 8"):
        fit(teacher(), tmp_path, batch_size=8)
    assert set(names) < set(os.listdir(tmp_path))
    fit(teacher(), tmp_path)


def test_a_disk_that_is_full_ends_no_training(tmp_path, monkeypatch):
    straight = teacher()
    fit(straight, tmp_path / "other")
    model, write = teacher(), sealed.seal

    def full(path, facts, arrays):
        if facts["epoch"] == 1:
            raise OSError(28, "No space left on device")
        write(path, facts, arrays)

    monkeypatch.setattr(checkpointing, "seal", full)
    with pytest.warns(
        UserWarning, match="could not be written; training goes on.*epoch_00000_step_00000002"
    ):
        fit(model, tmp_path / "own", save_freq=2)
    assert_same(model, straight)
    assert not any("partial" in name for name in os.listdir(tmp_path / "own"))


def test_a_folder_that_cannot_be_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    model = teacher()
    before = model.get_weights()
    with pytest.raises(OSError):
        fit(model, tmp_path / "file" / "backup")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(os.name != "posix", reason="by another process's lock")
def test_a_folder_has_one_owner(tmp_path):
    code = "import sys, keras_dmmd.locks as f; lock = f.Lock(sys.argv[1]); print('held', flush=True)"
    code += "; input()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(OSError, match=f"in use by another process \\(process {other.pid} on"):
        fit(teacher(), tmp_path)
    other.kill()
    other.wait()
    fit(teacher(), tmp_path)  # a killed owner holds nothing


def test_for_our_models_alone(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="models of keras_dmmd"):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), callbacks=[kd.callbacks.BackupAndResume(tmp_path)])


@pytest.mark.slow
@pytest.mark.long_compilation
def test_killed_and_resumed_is_bit_equal(tmp_path):
    """Both in fresh processes: in this one, JAX may hold initializers that it compiled otherwise."""

    def run(call):
        script = f"from tests.training import test_resume as t; t.{call}"
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    backup, other = str(tmp_path / "backup"), str(tmp_path / "other")
    killed = run(f"fit(t.distiller(), {backup!r}, t.Break(2, 2, kill=True))")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    compared = run(f"compare(t.distiller, {backup!r}, {other!r})")
    assert compared.returncode == 0, compared.stderr[-2000:]


def compare(make, backup, other):
    """Go on from `backup`, and do all of it again without interruption: one model, compiled once."""
    assert any("step_00000001" in name for name in os.listdir(backup))
    model, begin_anew = made(make)
    fit(model, backup)
    resumed = values(model)
    begin_anew()
    fit(model, other)
    for a, b in zip(values(model), resumed, strict=True):
        np.testing.assert_array_equal(a, b)


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
    other = tiny_model(kd.MaskedDiffusion(4))
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


def test_facts_may_be_long(tmp_path):
    """As the logs of a thousand epochs are, which an attribute of HDF5 has no room for."""
    path, facts = (
        tmp_path / "model.weights.h5",
        {"finished": [[i, {"loss": i / 3}] for i in range(9999)]},
    )
    model = tiny_model()
    model.save_sealed(path, facts, {"a": np.arange(3)})
    found, arrays = model.load_sealed(path)
    assert found == facts and arrays["a"].tolist() == [0, 1, 2]


def test_facts_of_files_of_before(tmp_path):
    """Which have them in an attribute."""
    path = tmp_path / "model.weights.h5"
    model = tiny_model()
    model.save_sealed(path)
    with h5py.File(path, "r+") as file:
        group = file[sealed.GROUP]
        del group["facts"]
        group.attrs["facts"] = np.void(b'{"epoch": 3}')
        group.attrs["digest"] = np.void(sealed._digest(file))
    assert model.load_sealed(path) == ({"epoch": 3}, {})
    with h5py.File(path, "r+") as file:
        file[sealed.GROUP].attrs["facts"] = np.void(b'{"epoch": 4}')
    with pytest.raises(OSError, match="do not agree with their digest"):
        model.load_sealed(path)


def test_a_log_has_one_header(tmp_path):
    """Of Keras's `CSVLogger`, when a run that was interrupted goes on."""

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    for others in ([Interrupt()], []):
        log = keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True)
        backup = kd.callbacks.BackupAndResume(tmp_path / "run")
        model = tiny_model()
        model.compile("sgd")
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(tokens(8), epochs=3, verbose=0, callbacks=[log, backup, *others])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2"]
