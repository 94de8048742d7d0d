"""Groups of Torch processes: two are one with the same batch."""

import contextlib
import functools
import os

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import backend
from keras_dmmd.training.batches import read_batches
from tests.builders import numpy, randomise, small_model, tiny_model, tokens
from tests.distribution.processes import run

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="processes of Torch")


@pytest.fixture(autouse=True)
def folder(tmp_path):
    return str(tmp_path)


def weights(*models):
    return [numpy(v) for model in models for v in model.trainable_variables]


def logs(history):
    return [value for _, value in sorted(history.history.items())]


def assert_same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


def on_one_and_two(function, folder):
    """What a function returns here, and in each of two processes."""
    found = run(function, folder)
    errors = [error for error in found if isinstance(error, Exception)]
    for error in sorted(errors, key=lambda error: "has lost" in str(error)):
        raise error
    return function(0), *found


def everything(number):
    """A teacher and a distiller, and whatever else is done with them."""
    # The last batch is of one row, so that one process has none. Weights begin as those of the first.
    x, share = tokens(9), np.linspace(0.5, 2.0, 9).astype("float32")
    model = randomise(small_model(), number)
    model.compile(keras.optimizers.Adam(0.02, global_clipnorm=0.5, use_ema=True, ema_momentum=0.5))
    history = model.fit(x, sample_weight=share, batch_size=4, epochs=2, verbose=0)
    found = [*logs(history), *weights(model)]
    found += model.evaluate(x, sample_weight=share, batch_size=4, corruptions=2, verbose=0)
    found.append(model.predict(x, batch_size=4, verbose=0))
    found += [model.generate(n, steps=2, seed=3) for n in (1, 7)]
    found += model.generate(5, steps=2, return_calls=True, return_entropies=True, batch_size=2)

    distiller = kd.DMMDDistiller(model, steps=2, critic_steps=2)
    distiller.compile(keras.optimizers.SGD(0.1, global_clipnorm=0.5))
    history = distiller.fit(x, batch_size=4, validation_data=x[:7], verbose=0)
    return [*found, *logs(history), *weights(distiller.student, distiller.critic)]


def test_two_processes_are_one(folder):
    one, *two = on_one_and_two(everything, folder)
    for found in two:
        assert_same(one, found)
    for a, b in zip(*two, strict=True):
        np.testing.assert_array_equal(a, b)


def in_parts(number):
    """Batches of 7 rows, of which processes have 4 and 3, and a last one of 1; blocks made again."""
    model = randomise(small_model(remat=True))
    model.compile(keras.optimizers.SGD(0.1), micro_batches=2)
    history = model.fit(tokens(8), batch_size=7, verbose=0)
    distiller = kd.DMMDDistiller(model, steps=2)
    distiller.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), micro_batches=2)
    losses = distiller.fit(tokens(8), batch_size=7, verbose=0).history
    found = [losses["student_loss"], losses["critic_loss"]]
    return [*logs(history), *found, *weights(model, distiller.student, distiller.critic)]


def test_processes_may_cut_batches_into_other_parts(folder):
    one, *two = on_one_and_two(in_parts, folder)
    for found in two:
        assert_same(one, found)


class Breaking(kd.samplers.Stepper):
    """Has no sample of what one process draws."""

    def __init__(self, number):
        self.number = number

    def step(self, process, prediction, z_t, s, t, state, keys):
        if backend.process()[0] == self.number:
            raise ArithmeticError("mine")
        return kd.samplers.Step(prediction.draw(keys[0]), state, None)

    def get_config(self):
        return {"number": self.number}


def broken(number):
    with pytest.raises(Exception) as caught:
        tiny_model().generate(4, steps=1, sampler=Breaking(1))
    return str(caught.value)


def test_an_error_of_one_process_is_one_of_all(folder):
    first, second = run(broken, folder)
    assert first == "Process 1 of 2 ended with an error: mine" and second == "mine"


class Drawing(keras.callbacks.Callback):
    """Draws from numpy's global stream once an epoch."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def on_epoch_end(self, epoch, logs=None):
        self.drawn.append(np.random.rand())


class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def drawn(number, folder):
    """What each process draws in a third epoch, at once and interrupted."""

    def fit(*callbacks):
        model = tiny_model()
        model.compile("sgd")
        model.fit(tokens(8), epochs=3, verbose=0, callbacks=list(callbacks))

    np.random.seed(number)
    whole, resumed = Drawing(), Drawing()
    fit(whole)
    np.random.seed(number)
    with contextlib.suppress(KeyboardInterrupt):
        fit(Drawing(), kd.callbacks.BackupAndResume(folder), Interrupt())
    np.random.seed(17)
    fit(resumed, kd.callbacks.BackupAndResume(folder))
    return whole.drawn[-1], resumed.drawn[-1]


def test_each_process_goes_on_with_its_own_global_streams(folder):
    found = run(functools.partial(drawn, folder=os.path.join(folder, "run")), folder)
    assert all(whole == resumed for whole, resumed in found)
    assert found[0] != found[1]


class Mean(kd.metrics.StreamingMetric):
    """The mean id of samples; another one in the second process, or an error there."""

    def __init__(self, fails=False):
        super().__init__(name="mean")
        self.fails = fails

    def update_state(self, samples, data=None):
        number, _ = backend.process()
        if self.fails and number == 1:
            raise OSError("no data here")
        self.gather(mean=samples.mean(axis=1) + number)


def files(number, folder):
    """Figures of a callback and of a sweep, and errors of sweeps; files by names of each process."""
    model = tiny_model()
    model.compile("sgd")
    look = kd.callbacks.SampleAndScore([Mean()], samples=4, steps=1, folder=f"{folder}/scores")
    found = list(model.fit(tokens(8), epochs=2, verbose=0, callbacks=[look]).history["mean"])
    model.save(f"{folder}/{number}.keras")
    model.save_weights(f"{folder}/{number}.weights.h5")
    model.save_to_preset(f"{folder}/{number}")

    def sweep(*metrics, where, data=None):
        options = {"samples": 5, "seeds": (0, 1), "verbose": 0, "folder": f"{folder}/{where}"}
        return kd.evaluate({"m": model}, [2], metrics, reference_data=data, **options)

    bits = kd.metrics.BitsPerToken(tiny_model(seed=4), batch_size=2)
    for _ in range(2):  # the second time from files
        report = sweep(Mean(), bits, where="sweep")
        found += [report.rows[0][name] for name in (*report.figures, "seconds_per_sample")]
    report.save(f"{folder}/report_{number}")
    said = []
    for where in ("other", "sweep") if backend.process()[1] == 2 else ():
        with pytest.raises((OSError, RuntimeError, ValueError)) as caught:
            sweep(Mean(fails=True), where=where)
        said.append(str(caught.value))
    return found, said


def test_the_first_process_writes(folder):
    """All processes sample and measure, and have the figures of the first, or the error of any."""
    (first, told), (second, said) = run(functools.partial(files, folder=folder), folder)
    assert first == second
    alone, _ = files(0, f"{folder}/one")
    assert first[:4] == pytest.approx(alone[:4], rel=1e-5) and first[2:5] == first[5:]
    assert said[0] == "no data here" and told[0] == f"Process 1 of 2 ended with an error: {said[0]}"
    assert told[1] in said[1] and "holds a sweep with other" in told[1]
    names = {name for name in os.listdir(folder) if "store" not in name}
    assert names == {"scores", "0.keras", "0.weights.h5", "0", "sweep", "other", "report_0", "one"}
    with open(os.path.join(folder, "scores", "scores.csv")) as file:
        assert len(file.read().splitlines()) == 3


def not_finite(number):
    model = tiny_model(dtype="mixed_float16" if number >= 0 else None)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    before = weights(model)
    share = np.ones(4, "float32")
    share[0] = 3e38  # of the first process
    history = model.fit(tokens(4), sample_weight=share, batch_size=4, shuffle=False, verbose=0)
    scale = float(numpy(model.optimizer.dynamic_scale))
    changed = any((a != b).any() for a, b in zip(before, weights(model), strict=True))
    return history.history["skipped"][0], scale, changed


def test_an_update_that_is_infinite_in_one_process_is_left_out_in_all(folder):
    one, *two = on_one_and_two(not_finite, folder)
    assert one == (1.0, 2.0**14, False) and two == [one, one]


def sources(x, number, processes):
    """Parts of the same data for one process, by their kind; arrays are whole."""
    import grain
    import torch

    data = torch.utils.data.TensorDataset(torch.as_tensor(x))
    sampler = torch.utils.data.DistributedSampler(data, processes, number)
    subset = torch.utils.data.Subset(data, range(number, len(data), processes))
    return {
        "arrays": x,
        "DataLoader": torch.utils.data.DataLoader(data, batch_size=4, sampler=sampler),
        "Subset": torch.utils.data.DataLoader(subset, batch_size=4, shuffle=True),
        "Grain": grain.MapDataset.source(x)[number::processes].to_iter_dataset().batch(4),
        "generator": ((x[i : i + 2],) for i in range(2 * number, len(x), 2 * processes)),
    }


ROWS = 17  # of which one process has 9 in three batches, the other 8 in two


def rows_of_epochs(number):
    """The rows of each batch that this process sees in two passes over each kind of data."""
    x = np.arange(ROWS * 5).reshape(ROWS, 5) % 97
    model = kd.DiffusionModel(small_model(kd.MaskedDiffusion(97)).denoiser, kd.MaskedDiffusion(97))
    processes, found = backend.process()[1], {}
    for kind, source in sources(x, number, processes).items():
        if processes == 1 and kind != "arrays":
            continue
        batches = read_batches(model.reader, source, batch_size=8, shuffle=True)
        passes = 1 if kind == "generator" else 2
        found[kind] = [[numpy(_ids(b)) for b in batches.get_torch_dataloader()] for _ in range(passes)]
        # As often as Keras asks for a batch, in each process.
        assert batches.num_batches in (None, len(found[kind][0]))
    return x, found


def _ids(batch):
    return batch[0] if isinstance(batch, tuple) else batch


def test_every_row_is_seen_once_an_epoch(folder):
    (x, one), (_, first), (_, second) = on_one_and_two(rows_of_epochs, folder)
    wanted = sorted(map(tuple, x))
    for kind in first:
        assert len(first[kind]) == len(second[kind])
        for a, b in zip(first[kind], second[kind], strict=True):
            assert len(a) == len(b)  # so that none waits for the other
            seen = sorted(tuple(row) for part in (*a, *b) for row in part)
            if kind == "DataLoader":  # whose sampler repeats a row, for as many in each
                assert len(seen) == ROWS + 1
                seen = sorted(set(seen))
            assert seen == wanted
    for i in range(2):
        joined = zip(first["arrays"][i], second["arrays"][i], strict=True)
        for part, whole in zip(joined, one["arrays"][i], strict=True):
            np.testing.assert_array_equal(np.concatenate(part), whole)
    assert not np.array_equal(first["DataLoader"][0][0], first["DataLoader"][1][0])


def refused(number):
    """What is said of data that are not divided, and of such that one process cannot read."""
    import torch

    x, said = tokens(16), []
    model = tiny_model()
    model.compile("adam")
    data = torch.utils.data.TensorDataset(torch.as_tensor(x))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    part = torch.utils.data.Subset(data, range(8))
    parts = torch.utils.data.DataLoader(part, batch_size=4)

    def breaks():
        yield (x[4 * number :][:4],)
        if number:
            raise OSError("disk")
        yield (x[8:12],)

    wrong = x + 9 * number  # ids that there are not, in one process
    calls = [
        lambda: model.fit(loader, verbose=0),
        lambda: model.fit(((x[i : i + 4],) for i in range(0, 16, 4)), verbose=0),
        lambda: model.fit(x[8 * number :], verbose=0),
        lambda: model.fit(loader if number else parts, verbose=0),
        lambda: model.fit(3 if number else parts, verbose=0),
        lambda: model.fit(breaks(), verbose=0),
        lambda: model.evaluate(((part,) for part in (x[4 * number :][:4], wrong[:4])), verbose=0),
        lambda: model.predict(wrong, verbose=0),
        lambda: model.train_on_batch(wrong),
        lambda: model.fit(x[:8], validation_data=wrong if number else parts, verbose=0),
    ]
    for call in calls:
        with pytest.raises((OSError, RuntimeError, ValueError)) as caught:
            call()
        said.append(str(caught.value))
    return said


def test_data_that_not_all_can_read_are_refused_by_all(folder):
    first, second = run(refused, folder)
    divided = ["gives all of the data to each of 2", "were given the same rows"]
    divided.append("were given different arrays, of [16, 8] rows")
    for words, *found in zip(divided, first, second, strict=False):
        assert all(words in sentence for sentence in found)
    own = ["gives all of the data", "`x` must be ids", "disk", "Batch 1 of", *["`tokens` must"] * 3]
    for words, told, sentence in zip(own, first[3:], second[3:], strict=True):
        begin, _, quoted = told.partition(" ended with an error: ")
        assert begin == "Process 1 of 2" and words in quoted and quoted in sentence


def masks(number):
    """Dropout of the same ones in two steps of `fit`, and whether weights are the same after it."""
    model = small_model(dropout=0.5)
    model.compile("adam")
    model.fit(tokens(4), batch_size=4, verbose=0)
    model._begin_together()
    layer = next(x for x in model._flatten_layers() if isinstance(x, keras.layers.Dropout))
    return numpy(layer(np.ones((1, 400), "float32"), training=True))


def test_dropout_is_another_in_each_process(folder):
    _, first, second = on_one_and_two(masks, folder)
    assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.25  # five errors


class Killed(keras.callbacks.Callback):
    def __init__(self, number, step):
        super().__init__()
        self.number, self.step = number, step

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.step and self.number == 1:
            os._exit(1)


def train(number, folder, step=None):
    model = tiny_model()
    model.compile(keras.optimizers.Adam(0.05))
    backup = kd.callbacks.BackupAndResume(folder, save_freq=1, delete_checkpoint=False)
    callbacks = [backup, *([] if step is None else [Killed(number, step)])]
    model.fit(tokens(16), batch_size=4, epochs=2, callbacks=callbacks, verbose=0)
    return weights(model)


def test_one_of_two_is_killed_and_both_go_on(folder):
    lost, dead = run(functools.partial(train, folder=f"{folder}/parts", step=2), folder)
    assert dead is None
    assert isinstance(lost, RuntimeError) and "has lost another one" in str(lost)
    resumed = run(functools.partial(train, folder=f"{folder}/parts"), folder)
    whole = run(functools.partial(train, folder=f"{folder}/whole"), folder)
    for found in (*resumed, whole[1]):
        for a, b in zip(whole[0], found, strict=True):
            np.testing.assert_array_equal(a, b)
