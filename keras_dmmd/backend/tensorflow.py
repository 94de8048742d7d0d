"""TensorFlow: stateful variables, gradient tapes, `tf.function`."""

import contextlib

import tensorflow as tf

from keras_dmmd.backend.xla import exponential, keep_unfused, wait_for

__all__ = [
    "COMPILES",
    "StatefulTrainStep",
    "apply_gradients",
    "compile_inference",
    "device_name",
    "exponential",
    "is_out_of_memory",
    "keep_unfused",
    "key",
    "no_gradient",
    "normal",
    "on_cpu",
    "split",
    "synchronize",
    "uniform",
    "unshare",
    "value_and_grad",
    "version",
    "wait_for",
]

COMPILES = True


# Philox, which XLA compiles to cheaper code than ThreeFry. With and without XLA its draws differ.
ALGORITHM = "philox"


def key(seed):
    return tf.cast(tf.convert_to_tensor(seed), "int32")


def split(key, n):
    return tf.unstack(tf.random.split(key, n, alg=ALGORITHM))


def uniform(key, shape):
    return tf.random.stateless_uniform(shape, key, dtype="float32", alg=ALGORITHM)


def normal(key, shape):
    return tf.random.stateless_normal(shape, key, dtype="float32", alg=ALGORITHM)


def value_and_grad(fn, variables):
    values = [variable.value for variable in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss, aux = fn()
    gradients = tape.gradient(loss, values, unconnected_gradients="zero")
    return (loss, aux), [tf.convert_to_tensor(gradient) for gradient in gradients]


def no_gradient():
    return contextlib.nullcontext()  # the tape watches only what it was given


def apply_gradients(optimizer, gradients, variables):
    optimizer.apply(gradients, variables)


class StatefulTrainStep:
    """`update(data)` is the train step as it stands."""

    def train_step(self, data):
        return self.update(data)


def unshare(variables):
    """Variables never share memory here."""
    del variables


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
