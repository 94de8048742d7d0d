"""TensorFlow: parts of a computation one after the other, and what gradients make again."""

import tensorflow as tf

from keras_dmmd.backend.xla import made_later


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


def sum_parts(fn, tensors, n):
    def first(*part):
        return fn(tf.constant(0), *part)

    signature = [tf.TensorSpec(x.shape[1:], x.dtype) for x in tensors]
    # Traced for the shapes of what it makes.
    found = tf.function(first, autograph=False).get_concrete_function(*signature).structured_outputs
    zeros = tf.nest.map_structure(lambda x: tf.zeros(x.shape, x.dtype), found)

    def step(i, sums):
        return i + 1, tf.nest.map_structure(tf.add, sums, fn(i, *(x[i] for x in tensors)))

    return _loop(tf.cast(n, "int32"), step, zeros)


def remat(fn):
    @tf.custom_gradient
    def wrapped(*tensors):
        def gradient(*upstream, variables=()):
            watched = [*made_later(tensors, upstream[0]), *variables]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                values = fn(*watched[: len(tensors)])
            own = tape.gradient(values, watched, upstream, unconnected_gradients="zero")
            own = [tf.convert_to_tensor(x) for x in own]
            found = own[: len(tensors)]
            return (found, own[len(tensors) :]) if variables else found

        return fn(*tensors), gradient

    return wrapped


def _put(x, i, value):
    return tf.tensor_scatter_nd_update(x, [[i]], value[None])


def _loop(n, step, start):
    """`step(i, state)` for i below n, one after the other."""
    return tf.while_loop(lambda i, _: i < n, step, (0, start), parallel_iterations=1)[1]
