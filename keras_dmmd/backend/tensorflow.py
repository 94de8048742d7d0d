"""TensorFlow: stateful variables, gradient tapes, `tf.function`."""

import contextlib

import tensorflow as tf

from keras_dmmd.backend import philox
from keras_dmmd.backend.xla import exponential, keep_unfused, wait_for

__all__ = [
    "COMPILES",
    "ITERATORS_PER_EPOCH",
    "StatefulTrainStep",
    "apply_gradients",
    "compile_inference",
    "device_name",
    "exponential",
    "is_key",
    "is_out_of_memory",
    "is_symbolic",
    "keep_unfused",
    "keeper",
    "key",
    "map_tiles",
    "no_gradient",
    "normal",
    "on_cpu",
    "pass_over",
    "pick",
    "return_state",
    "retrack",
    "row_keys",
    "seed_keys",
    "split",
    "synchronize",
    "uniform",
    "unshare",
    "value_and_grad",
    "version",
    "wait_for",
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
    if seed.dtype == tf.uint64:
        return seed.shape.rank in (None, 1)
    shapes = ((2,), (None, 2))
    return seed.dtype == tf.int32 and any(seed.shape.is_compatible_with(shape) for shape in shapes)


def is_symbolic(size):
    del size  # what is not known yet is a tensor
    return False


def seed_keys(seeds):
    return tf.stack([tf.cast(seeds, "int32"), tf.zeros_like(seeds, "int32")], axis=-1)


def split(key, n):
    if key.dtype == tf.uint64:
        return tf.unstack(_mix(key ^ _mix(tf.cast(tf.range(1, n + 1), tf.uint64))[:, None]))
    if key.shape.rank == 2:
        return philox.split(key, n)
    return tf.unstack(tf.random.split(key, n, alg=ALGORITHM))


def pick(key, n, i):
    del n  # what is split off does not depend on how many are
    return philox.pick(key, i)


def uniform(key, shape):
    if key.dtype == tf.uint64:
        return _row_uniform(key, shape)
    return tf.random.stateless_uniform(shape, key, dtype="float32", alg=ALGORITHM)


def normal(key, shape):
    if key.dtype == tf.uint64:  # by the inverse of the distribution function
        return 2.0**0.5 * tf.math.erfinv(2.0 * _row_uniform(key, shape) - 1.0 + 2.0**-24)
    return tf.random.stateless_normal(shape, key, dtype="float32", alg=ALGORITHM)


# TensorFlow draws from one key at a time. A key per row is a word of 64 bits, and its row the stream
# of SplitMix64 (Steele, Lea & Flood, 2014) from there: every draw is a function of key and place.


def row_keys(key, rows):
    high, low = tf.unstack(tf.cast(tf.bitcast(key, tf.uint32), tf.uint64), axis=-1)
    shared = _mix(_mix(high) ^ low)
    return _mix(shared ^ _mix(tf.cast(rows + 1, tf.uint64)))


def _word(value):
    return tf.constant(value & (2**64 - 1), tf.uint64)


def _mix(state):
    shift = tf.bitwise.right_shift
    state = state + _word(0x9E3779B97F4A7C15)
    state = (state ^ shift(state, _word(30))) * _word(0xBF58476D1CE4E5B9)
    state = (state ^ shift(state, _word(27))) * _word(0x94D049BB133111EB)
    return state ^ shift(state, _word(31))


def _row_uniform(keys, shape):
    """Multiples of 2^-24 in [0, 1)."""
    places = tf.cast(tf.range(tf.reduce_prod(shape[1:])), tf.uint64) * _word(0x9E3779B97F4A7C15)
    bits = tf.bitwise.right_shift(_mix(keys[:, None] + places), _word(40))
    return tf.reshape(tf.cast(tf.cast(bits, tf.int32), "float32") * 2.0**-24, shape)


def value_and_grad(fn, variables):
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss, aux = fn()
    gradients = tape.gradient(loss, values, unconnected_gradients="zero")
    return (loss, aux), [tf.convert_to_tensor(gradient) for gradient in gradients]


def map_tiles(fn, tensors, n):
    signature = [tf.TensorSpec(x.shape[1:], x.dtype) for x in tensors]
    found = tf.function(fn).get_concrete_function(*signature).structured_outputs
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in found]
    is_float = [x.dtype.is_floating for x in tensors]

    @tf.custom_gradient
    def mapped(*tensors):
        count, n_tiles = tf.shape(tensors[0])[0], tf.cast(n, "int32")

        def step(i, made):
            values = fn(*(x[i] for x in tensors))
            return i + 1, tuple(_put(x, i, value) for x, value in zip(made, values, strict=True))

        made = tuple(tf.zeros((count, *spec.shape), spec.dtype) for spec in specs)
        made = _loop(n_tiles, step, made)

        def gradient(*upstream, variables=()):
            def step(i, sums):
                tile = [x[i] for x in tensors]
                watched = [x for x, float_ in zip(tile, is_float, strict=True) if float_]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([*watched, *variables])
                    values = fn(*tile)
                own = tape.gradient(
                    values,
                    [*watched, *variables],
                    output_gradients=[x[i] for x in upstream],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                own = [tf.convert_to_tensor(x) for x in own]
                own_tiles = zip(sums[: len(watched)], own, strict=False)
                own_weights = zip(sums[len(watched) :], own[len(watched) :], strict=True)
                return i + 1, (
                    *(_put(x, i, value) for x, value in own_tiles),
                    *(x + value for x, value in own_weights),
                )

            floats = [x for x, float_ in zip(tensors, is_float, strict=True) if float_]
            zeros = tuple(tf.zeros(tf.shape(x), x.dtype) for x in [*floats, *variables])
            found = list(_loop(n_tiles, step, zeros))
            of_tensors = [found.pop(0) if float_ else None for float_ in is_float]
            return (of_tensors, found) if variables else of_tensors

        return made, gradient

    return mapped(*tensors)


def _put(x, i, value):
    return tf.tensor_scatter_nd_update(x, [[i]], value[None])


def _loop(n, step, start):
    """`step(i, state)` for i below n, one after the other."""
    return tf.while_loop(lambda i, _: i < n, step, (0, start), parallel_iterations=1)[1]


def no_gradient():
    return contextlib.nullcontext()  # the tape watches only what it was given


def apply_gradients(optimizer, gradients, variables, where=None):
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
    del variables  # tf.function captures variables by reference, never as constants
    return tf.function(fn, jit_compile=jit_compile, autograph=False)


def version():
    return tf.__version__


def device_name():
    gpus = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return ", ".join(gpu["device_name"] for gpu in gpus) or "cpu"


def on_cpu():
    return len(tf.config.list_logical_devices()) == 1


def is_out_of_memory(error):
    return isinstance(error, tf.errors.ResourceExhaustedError)


def synchronize(x):
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), x)
