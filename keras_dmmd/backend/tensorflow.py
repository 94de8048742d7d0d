"""TensorFlow: stateful variables, gradient tapes, `tf.function`."""

import contextlib

import tensorflow as tf

from keras_dmmd.backend import philox
from keras_dmmd.backend import tensorflow_words as words
from keras_dmmd.backend.alone import (
    agreed,
    begin_pass,
    check_backup,
    check_source,
    data_part,
    from_first,
    gather_integers,
    gather_objects,
    gather_rows,
    gathered,
    hide_devices,
    in_words,
    is_first,
    kept_value,
    on_these_devices,
    parts,
    predictor,
    process,
    reads_whole,
    show_devices,
    split_rows,
    summed,
    telling,
    to_numpy,
    undivided,
    whole,
    whole_if_uneven,
)
from keras_dmmd.backend.erfinv import erfinv
from keras_dmmd.backend.tensorflow_loops import map_tiles, remat, sum_parts
from keras_dmmd.backend.tensorflow_replicas import (
    apply_in_replica,
    begin_together,
    check_copies,
    keras_loss,
    scope_of,
    share,
    sum_over_replicas,
)
from keras_dmmd.backend.xla import exponential, gather_last, keep_unfused, wait_for

__all__ = [
    "COMPILES",
    "ITERATORS_PER_EPOCH",
    "StatefulTrainStep",
    "agreed",
    "apply_gradients",
    "argmin",
    "begin_pass",
    "begin_together",
    "check_backup",
    "check_copies",
    "check_source",
    "compile_inference",
    "data_part",
    "device_name",
    "exponential",
    "from_first",
    "gather_integers",
    "gather_last",
    "gather_objects",
    "gather_rows",
    "gathered",
    "hide_devices",
    "in_words",
    "is_first",
    "is_key",
    "is_out_of_memory",
    "is_row_key",
    "is_symbolic",
    "keep_unfused",
    "keeper",
    "kept_value",
    "keras_loss",
    "key",
    "map_tiles",
    "no_gradient",
    "normal",
    "on_cpu",
    "on_these_devices",
    "parts",
    "pass_over",
    "pick",
    "predictor",
    "process",
    "reads_whole",
    "remat",
    "retrack",
    "return_state",
    "row_keys",
    "scope_of",
    "seed_keys",
    "share",
    "show_devices",
    "split",
    "split_rows",
    "sum_over_replicas",
    "sum_parts",
    "summed",
    "synchronize",
    "telling",
    "to_numpy",
    "undivided",
    "uniform",
    "unshare",
    "value_and_grad",
    "version",
    "wait_for",
    "whole",
    "whole_if_uneven",
]

COMPILES = True
ITERATORS_PER_EPOCH = 2


# Philox, which XLA compiles to cheaper code than ThreeFry. With and without XLA its draws differ.
ALGORITHM = "philox"


def key(seed):
    return tf.cast(tf.convert_to_tensor(seed), "int32")


def is_key(seed):
    if not tf.is_tensor(seed):
        return False
    if words.is_word(seed):
        return seed.shape.rank in (None, 1)
    shapes = ((2,), (None, 2))
    return seed.dtype == tf.int32 and any(seed.shape.is_compatible_with(shape) for shape in shapes)


def is_symbolic(size):
    del size  # what is not known yet is a tensor
    return False


def seed_keys(seeds):
    return tf.stack([tf.cast(seeds, "int32"), tf.zeros_like(seeds, "int32")], axis=-1)


def split(key, n):
    if words.is_word(key):
        numbers = words.mix(words.words(tf.range(1, n + 1)))
        return words.unstacked(words.mix(words.xor(key, numbers[:, None])), n)
    if key.shape.rank == 2:
        return philox.split(key, n)
    return tf.unstack(_keys(key, n), num=n)


# One by one in Python, the operations of these take milliseconds.


@tf.function(input_signature=[tf.TensorSpec((2,), "int32"), tf.TensorSpec((), "int32")])
def _keys(key, n):
    return tf.random.split(key, n, alg=ALGORITHM)


def pick(key, n, i):
    del n  # what is split off does not depend on how many are
    return philox.pick(key, i)


def uniform(key, shape):
    if words.is_word(key):
        return _row_uniform(key, shape)
    return tf.random.stateless_uniform(shape, key, dtype="float32", alg=ALGORITHM)


def argmin(x):
    # Keras's own looks for -0.0 first, by operations that LiteRT does not have.
    return tf.argmin(x, axis=-1, output_type="int32")


def normal(key, shape):
    if words.is_word(key):  # by the inverse of the distribution function
        inverse = erfinv if words.is_lite() else tf.math.erfinv
        return 2.0**0.5 * inverse(2.0 * _row_uniform(key, shape) - 1.0 + 2.0**-24)
    return tf.random.stateless_normal(shape, key, dtype="float32", alg=ALGORITHM)


# TensorFlow draws from one key at a time. A key per row is a word of 64 bits, and its row the stream
# of SplitMix64 from there: every draw is a function of key and place.


def is_row_key(key):
    return words.is_word(key)


def row_keys(key, rows):
    return (_row_keys if key.shape.rank == 2 else _compiled_row_keys)(key, rows)


def _row_keys(key, rows):
    high, low = (words.of_half(half) for half in tf.unstack(key, axis=-1))
    shared = words.mix(words.xor(words.mix(high), low))
    return words.mix(words.xor(shared, words.mix(words.words(rows + 1))))


_compiled_row_keys = tf.function(
    _row_keys,
    input_signature=[tf.TensorSpec((2,), "int32"), tf.TensorSpec((None,), "int32")],
)


def _row_uniform(keys, shape):
    """Multiples of 2^-24 in [0, 1)."""
    places = words.words(tf.range(tf.reduce_prod(shape[1:]))) * words.word(words.STEP)
    bits = words.upper(words.mix(keys[:, None] + places))
    return tf.reshape(tf.cast(bits, "float32") * 2.0**-24, shape)


def value_and_grad(fn, variables):
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss, aux = fn()
    gradients = tape.gradient(loss, values, unconnected_gradients="zero")
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    for gradient, value in zip(gradients, values, strict=True):
        gradient.set_shape(value.shape)  # of a table's rows TensorFlow forgets how many there are
    return (loss, aux), gradients


def no_gradient():
    return contextlib.nullcontext()  # the tape watches only what it was given


def apply_gradients(optimizer, gradients, variables, where=None):
    if apply_in_replica(optimizer, gradients, variables, where):
        return
    if where is None:
        optimizer.apply(gradients, variables)
    else:
        tf.cond(where, lambda: optimizer.apply(gradients, variables), lambda: None)


class StatefulTrainStep:
    """`update(data)` is the train step as it stands."""

    def train_step(self, data):
        return self.update(data)


def unshare(variables):
    """Variables never share memory here."""
    del variables


def retrack(layers):
    del layers  # nothing but they themselves holds their variables


def keeper(variables):
    del variables  # they hold their values whatever happens
    return lambda model: None


def pass_over(steps, iterator):
    """What a train function returns that has taken its batches and not trained on them."""
    for _ in range(steps):
        next(iterator)
    return {}


def return_state(model):
    del model  # its variables hold their values all the time


def compile_inference(fn, variables, jit_compile):
    """A function that is traced once for every kind of arguments, and then called with little Python.

    `tf.function` looks at a nest of arguments at length, in every call: as long as a small network's
    call takes. Here each kind has a function of flat tensors, which is looked up by their shapes.
    """
    del variables  # tf.function captures variables by reference, never as constants
    functions = {}

    def compiled(*args):
        leaves = tf.nest.flatten(args)
        tensors = [x if tf.is_tensor(x) else tf.convert_to_tensor(x) for x in leaves if x is not None]
        kinds = iter([(x.shape, x.dtype) for x in tensors])
        kinds = tuple(None if x is None else next(kinds) for x in leaves)
        if kinds not in functions:
            functions[kinds] = _flat_function(fn, args, leaves, tensors, jit_compile)
        return functions[kinds](*tensors)

    return compiled


def _flat_function(fn, args, leaves, tensors, jit_compile):
    """A concrete function of those leaves of `args` that are tensors."""
    is_there = [x is not None for x in leaves]

    def flat(*tensors):
        left = iter(tensors)
        return fn(
            *tf.nest.pack_sequence_as(args, [next(left) if there else None for there in is_there])
        )

    specs = [tf.TensorSpec(x.shape, x.dtype) for x in tensors]
    return tf.function(flat, jit_compile=jit_compile, autograph=False).get_concrete_function(*specs)


def version():
    return tf.__version__


def device_name():
    gpus = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return ", ".join(gpu["device_name"] for gpu in gpus) or "cpu"


def on_cpu():
    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def is_out_of_memory(error):
    return isinstance(error, tf.errors.ResourceExhaustedError)


def synchronize(x):
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), x)
