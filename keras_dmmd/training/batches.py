"""Where `fit` gets its batches: arrays in an order of our own, or another source, which is read."""

import itertools
import math

import keras
import numpy as np
from keras import ops, tree
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from keras_dmmd import backend, checks
from keras_dmmd.training.processes import check_arrays, in_step, most_batches, part_of
from keras_dmmd.training.reading import is_host_data

EMPTY = "The data, `x` or `validation_data`, must hold at least one batch. Received: none"


class Batches(DataAdapter):
    """Base class: passes over data that are counted, so that training can go on in one of them.

    Attributes:
        seed: of the order, where that is ours: integers at least 0.
    """

    passes = skipped = 0
    seed = ()

    def begin(self, passes=0, skipped=0):
        """Make the next pass over the data the one of this number, without its first batches."""
        self.passes, self.skipped = passes, skipped

    def begin_epoch(self, epoch, steps):
        """Make the next pass that of an epoch of so many steps (`None`: a pass) in a run of `fit`."""
        self.passes, _ = self.position(epoch, steps)

    def position(self, epoch, steps):
        """The pass in which an epoch begins, and the batches of it before that.

        Without `steps_per_epoch` an epoch is a pass. With it an epoch takes up the pass of the one
        before, until that has ended.
        """
        batches = self.num_batches
        if steps is None or steps == batches:
            return [epoch, 0]
        if batches is None:
            return [0, epoch * steps]
        passes, epochs = divmod(epoch, -(-batches // steps))
        return [passes, epochs * steps]

    def _next_pass(self):
        """The number of a pass that begins, and how many of its batches were seen."""
        found = self.passes, self.skipped
        self.passes, self.skipped = self.passes + 1, 0
        return found


class ArrayBatches(Batches):
    """Batches of arrays, shuffled by a seed and the number of the pass.

    Keras draws that order from a global stream, a different one on each backend, which no checkpoint
    holds. Here it is the same on every backend, and a run that was interrupted finds it again.

    A run that goes on at an `initial_epoch` has that epoch's order, too.

    Args:
        parts: a tuple of nests of arrays with as many rows each.
        batch_size: rows of a batch; `None` is 32, or what makes `steps` batches.
        steps: batches of an epoch, which decide the batch size where that is `None`.
        shuffle: whether to; `"batch"` shuffles within batches.
        repeats: how often each row comes, one after the other.
        seed: integers at least 0.
        is_endless: whether pass follows pass, for epochs that go across them.

    Among several processes each has a part of every batch, rows that follow one another.
    """

    def __init__(
        self,
        parts,
        batch_size=None,
        steps=None,
        shuffle=False,
        repeats=1,
        seed=(0,),
        is_endless=False,
    ):
        self.parts, self.shuffle, self.repeats, self.seed = parts, shuffle, repeats, seed
        self.is_endless = is_endless
        self.n = len(tree.flatten(parts)[0])
        self._batch_size = int(batch_size or (math.ceil(self.n / steps) if steps else 32))

    def begin_epoch(self, epoch, steps):
        self.begin(*self.position(epoch, steps))

    def _batches(self):
        number, skipped = self._next_pass()
        if not self.is_endless:
            yield from self._batches_of(number, skipped)
            return
        passes, skipped = divmod(skipped, self._batches_per_pass)
        for later in itertools.count(number + passes):
            yield from self._batches_of(later, skipped)
            skipped = 0

    def _batches_of(self, number, skipped):
        rng = np.random.default_rng([*self.seed, number])
        order = rng.permutation(self.n) if self.shuffle and self.shuffle != "batch" else None
        for i in range(self._batches_per_pass):
            rows = slice(i * self._batch_size, (i + 1) * self._batch_size)
            if order is not None:
                rows = order[rows]
            elif self.shuffle == "batch":
                rows = rows.start + rng.permutation(min(self.n - rows.start, self._batch_size))
            if i >= skipped:
                if isinstance(rows, slice):
                    rows = np.arange(*rows.indices(self.n))
                self._rows = len(rows)
                rows = part_of(rows)
                batch = tree.map_structure(lambda a, rows=rows: a[rows], self.parts)
                yield repeated(batch, self.repeats)

    def get_numpy_iterator(self):
        return self._batches()

    def get_jax_iterator(self):
        return backend.hide_devices(self._batches(), lambda: self._rows)

    def get_torch_dataloader(self):
        return (tree.map_structure(ops.convert_to_tensor, batch) for batch in self._batches())

    def get_tf_dataset(self):
        import tensorflow as tf

        rows = None if self.has_partial_batch else self.batch_size
        signature = tree.map_structure(
            lambda a: tf.TensorSpec((rows, *a.shape[1:]), tf.as_dtype(a.dtype)), self.parts
        )
        dataset = tf.data.Dataset.from_generator(self._batches, output_signature=signature)
        size = tf.data.INFINITE_CARDINALITY if self.is_endless else self.num_batches
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(size))
        return dataset.prefetch(tf.data.AUTOTUNE)

    @property
    def _batches_per_pass(self):
        return math.ceil(self.n / self._batch_size)

    @property
    def num_batches(self):
        return None if self.is_endless else self._batches_per_pass

    @property
    def batch_size(self):
        return self._batch_size * self.repeats

    @property
    def partial_batch_size(self):
        return self.n % self._batch_size * self.repeats or None

    @property
    def has_partial_batch(self):
        return self.partial_batch_size is not None


class ReadBatches(Batches):
    """Keras's adapter of a data set, generator or loader, whose batches a `Reader` reads.

    Among several processes each has a source of its own rows: together these are the whole batch. Under
    a distribution that divides data each has all of them, and takes its part.

    Args:
        source: what is read.
        adapter: Keras's, of it.
        num_batches: of a pass, or `None`.
        reader: the `Reader`.
        repeats: how often each row comes.
    """

    def __init__(self, source, adapter, num_batches, reader, repeats=1):
        if num_batches == 0:
            raise ValueError(EMPTY)
        self.source, self._num_batches = source, num_batches
        self.adapter, self.reader, self.repeats = adapter, reader, repeats
        self.found = False

    def _batches(self, begin):
        """Batches of the iterable that `begin` returns."""
        passes, skipped = self._next_pass()
        for number, (batch, rows) in enumerate(in_step(self._read(begin, passes))):
            self._rows, self.found = rows, True
            if number >= skipped:
                yield repeated(batch, self.repeats)
        if not self.found:  # a generator that an earlier pass used up is for Keras to warn of
            raise ValueError(EMPTY)

    def _read(self, begin, passes):
        backend.begin_pass(self.source, passes)
        for number, batch in enumerate(begin()):
            yield self.reader.batch(number, batch)

    def begin(self, passes=0, skipped=0):
        super().begin(passes, skipped)
        # What shuffles itself anew in every pass does so as often as before.
        if isinstance(self.adapter, data_adapters.TFDatasetAdapter):
            for _ in range(passes * backend.ITERATORS_PER_EPOCH):
                next(iter(self.adapter.get_tf_dataset()), None)
        for _ in range(passes):
            self.adapter.on_epoch_begin()
            self.adapter.on_epoch_end()

    def get_numpy_iterator(self):
        return self._batches(self.adapter.get_numpy_iterator)

    def get_jax_iterator(self):
        batches = self._batches(self.adapter.get_jax_iterator)
        return backend.hide_devices(batches, lambda: self._rows)

    def get_torch_dataloader(self):
        return self._batches(self.adapter.get_torch_dataloader)

    def get_tf_dataset(self):
        import tensorflow as tf

        try:
            dataset = self.adapter.get_tf_dataset()
        except ValueError as error:
            if str(error).startswith("Must provide at least one structure"):
                raise ValueError(EMPTY) from None
            raise
        dataset = self.reader.dataset(dataset)
        if self.repeats == 1:
            return dataset
        return dataset.map(lambda *parts: repeated(parts, self.repeats, tf.repeat)).map(_only)

    @property
    def builtin_prefetch(self):
        return self.adapter.builtin_prefetch

    @property
    def num_batches(self):
        return self._num_batches

    @property
    def batch_size(self):
        return self.adapter.batch_size

    @property
    def has_partial_batch(self):
        return self.adapter.has_partial_batch

    @property
    def partial_batch_size(self):
        return self.adapter.partial_batch_size

    def on_epoch_begin(self):
        self.adapter.on_epoch_begin()

    def on_epoch_end(self):
        self.adapter.on_epoch_end()


def read_batches(
    reader, x, y=None, sample_weight=None, repeats=1, seed=(0,), is_endless=False, **options
):
    """The `Batches` of whatever Keras's `fit` takes.

    Args:
        reader: a `Reader`.
        x, y, sample_weight: as for `keras.Model.fit`.
        repeats: how often each row comes, one after the other.
        seed: of the order of arrays, integers at least 0.
        is_endless: whether arrays come again and again.
        **options: `batch_size`, `steps_per_epoch`, `shuffle` of that call.
    """
    if isinstance(x, Batches):
        return x
    if not is_host_data(x):
        if not isinstance(x, keras.utils.PyDataset):  # all others have an order of their own
            options.pop("shuffle", None)
        with backend.telling():
            backend.check_source(x)
            adapter = _keras_adapter(x, y, sample_weight, **options)
            number = adapter.num_batches
        return ReadBatches(x, adapter, most_batches(number), reader, repeats)
    with backend.telling():
        x, sample_weight = reader.read(x, y, sample_weight)
    parts = (x,) if sample_weight is None else (x, sample_weight, sample_weight)
    check_arrays(parts)
    batch_size, steps = options.get("batch_size"), options.get("steps_per_epoch")
    shuffle = options.get("shuffle", False)
    batches = ArrayBatches(parts, batch_size, steps, shuffle, repeats, seed, is_endless)
    size = sum(part[:1].nbytes for part in tree.flatten(parts))
    checks.fits(
        f"A batch in corruptions={repeats}", size * min(batches.batch_size, batches.n * repeats)
    )
    return batches


def _keras_adapter(x, *others, **options):
    """Keras's adapter of batches."""
    try:
        if x is not None:  # where Keras would take `y` for the data
            with backend.undivided():
                return data_adapters.get_data_adapter(x, *others, **options)
    except ValueError as error:
        if not str(error).startswith("Unrecognized data type"):
            raise ValueError(f"`x` cannot be read: {error}") from error
    raise ValueError(
        "`x` must be ids (n, length), a dict of them, or batches: a data set of tf.data, Torch or "
        f"Grain, a PyDataset or a generator. Received: x={checks.shown(x)}"
    )


def repeated(parts, repeats, repeat=np.repeat):
    """Each row of every array of a nest so often, one after the other; `None` stays `None`."""
    if repeats == 1:
        return parts
    return tree.map_structure(lambda a: a if a is None else repeat(a, repeats, axis=0), parts)


def _only(*parts):
    """Parts of a batch as Keras takes them: of one part that part."""
    return parts if len(parts) > 1 else parts[0]
