"""What `fit`, `evaluate` and `predict` are given: checked, and labels put beside their tokens.

Arrays are read once, before anything runs. Of data sets, generators and loaders every batch is read on
its way, by an adapter around Keras's own: nothing out of range reaches a compiled step, where it would
pass for other ids or turn weights to NaN.
"""

from keras.src.trainers import data_adapters

from keras_dmmd import checks
from keras_dmmd.conditions import entries

# What begins an error that TensorFlow's data pipeline raises for us.
MARK = "keras_dmmd: "


class Reader:
    """Reads batches `x`, `(x, y)` or `(x, y, sample_weight)` of a model's data.

    `x` is ids, or a dict of them and their conditions; `y` is labels. Out come a dict or ids, and the
    weights.

    Args:
        model: a `DiffusionModel`.
    """

    def __init__(self, model):
        self.vocabulary_size = model.process.vocabulary_size
        self.num_classes = model.capabilities.num_classes

    def read(self, x, y=None, sample_weight=None):
        """`x` and weights of host data, checked; arrays of numpy.

        Raises:
            ValueError: something is out of its range, or of another shape.
        """
        parts = self._entries(x, y)
        read, sample_weight = self._checked(parts, sample_weight)
        return _bare(read), sample_weight

    def _checked(self, parts, sample_weight):
        """Entries and weights of host data, as arrays of numpy."""
        read = {"tokens": checks.ids("tokens", parts["tokens"], self.vocabulary_size, ndim=2)}
        n = len(read["tokens"])
        if read["tokens"].size == 0:
            shape = read["tokens"].shape
            raise ValueError(
                f"`tokens` must not be empty, but there are no examples. Received: {shape}"
            )
        if "known" in parts:
            read["known"] = checks.flags("known", parts["known"], read["tokens"].shape)
        if "labels" in parts:
            # The id after the last class says "none", as in `generate`.
            read["labels"] = checks.ids("labels", parts["labels"], self.num_classes + 1, ndim=1)
            if len(read["labels"]) != n:
                raise ValueError(
                    f"`labels` must be one label per example. Received: {len(read['labels'])} for {n}"
                )
        if sample_weight is not None:
            sample_weight = checks.weights(sample_weight, n)
        return read, sample_weight

    def _entries(self, x, y):
        """The entries of `x`, with `y` as its labels; which there are is checked."""
        parts = entries(x)
        if y is not None:
            if "labels" in parts:
                raise ValueError("Labels were given twice: as `y` and as an entry of `x`.")
            parts["labels"] = y
        if "labels" in parts and not self.num_classes:
            raise ValueError(
                "This model takes no labels: make its denoiser with `num_classes`, or leave out `y` "
                "and the entry 'labels'."
            )
        return parts

    def batch(self, number, batch):
        """A batch of a generator or loader, read; its number stands in what is raised."""
        x, y, sample_weight = unpack(batch)
        try:
            parts = self._entries(x, y)
            self._checked(parts, sample_weight)
        except ValueError as error:
            raise ValueError(f"Batch {number} of the data: {error}") from error
        return pack(_bare(parts), sample_weight)

    def dataset(self, dataset):
        """A `tf.data.Dataset` whose batches are read within its pipeline, on the host."""
        import tensorflow as tf

        def in_range(number, name, values, size):
            values = tf.cast(values, "float64")  # exact for every id that there is
            low, high = tf.reduce_min(values), tf.reduce_max(values)
            inside = (low >= 0) & (high < size) & tf.reduce_all(tf.equal(values, tf.floor(values)))
            message = f"of the data: `{name}` must be ids from 0 to {size - 1}. Received: values from"
            return tf.debugging.Assert(inside, [MARK + "Batch", number, message, low, "to", high])

        def read(number, batch):
            x, y, sample_weight = unpack(batch)
            parts = self._entries(x, y)
            for name, part in (*parts.items(), ("sample_weight", sample_weight)):
                _check_element(name, part)
            made = [in_range(number, "tokens", parts["tokens"], self.vocabulary_size)]
            if "labels" in parts:
                made.append(in_range(number, "labels", parts["labels"], self.num_classes + 1))
            if "known" in parts:
                made.append(in_range(number, "known", parts["known"], 2))
            if sample_weight is not None:
                finite = tf.reduce_all(tf.math.is_finite(tf.cast(sample_weight, "float32")))
                message = "of the data: `sample_weight` must be finite"
                made.append(tf.debugging.Assert(finite, [MARK + "Batch", number, message]))
            with tf.control_dependencies(made):
                parts = tf.nest.map_structure(tf.identity, parts)
            return pack(_bare(parts), sample_weight)

        return dataset.enumerate().map(read)


def _check_element(name, part):
    """Raise a `ValueError` where a batch of a `tf.data.Dataset` has a part of another kind or rank."""
    if part is None:
        return
    kinds = part.dtype.is_integer or part.dtype.is_floating or part.dtype.is_bool
    shape, ranks = part.shape, {"labels": (1,), "sample_weight": (1, 2)}.get(name, (2,))
    is_column = shape.rank != 2 or name != "sample_weight" or shape[1] in (1, None)
    if not kinds or shape.rank not in (None, *ranks) or not is_column:
        wanted = {"labels": "(n,)", "sample_weight": "(n,)"}.get(name, "(n, length)")
        raise ValueError(
            f"`{name}` of a batch must be numbers of shape {wanted}. "
            f"Received: {part.dtype.name}, shape {shape}"
        )


def unpack(batch):
    """`x, y, sample_weight` of a batch; lists are tuples, as some loaders give them."""
    if not isinstance(batch, (tuple, list)):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            f"A batch must be x, (x, y) or (x, y, sample_weight). Received: {len(batch)} parts"
        )
    return (*batch, None, None)[:3]


def pack(x, sample_weight):
    """A batch for Keras, which drops weights where there is no `y`: they stand in its place, too."""
    return x if sample_weight is None else (x, sample_weight, sample_weight)


def _bare(parts):
    """Entries as a model takes them: tokens alone without a dict."""
    return parts if len(parts) > 1 else parts["tokens"]


def is_host_data(x):
    """Whether this is arrays, or what can be one, rather than an iterable of batches."""
    return (isinstance(x, (list, tuple, dict)) or hasattr(x, "__array__")) and not (
        data_adapters.is_tf_dataset(x) or data_adapters.is_torch_dataloader(x)
    )


def plain_error(error):
    """Ours where TensorFlow's pipeline raised it; else the error itself."""
    text = str(error)
    if MARK not in text or isinstance(error, ValueError):
        return error
    said = text[text.index(MARK) + len(MARK) :].split("[[")[0]
    return ValueError(" ".join(part.strip("[] \n") for part in said.split("] [")).split("]")[0])
