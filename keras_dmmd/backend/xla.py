"""What JAX and TensorFlow share, formulas in the shape that XLA compiles well above all."""

from keras import ops


def exponential(coarse, fine):
    """See `keras_dmmd.random.exponential`.

    XLA's `log1p` costs several times its `log`. So near 0, where `log(1 - v)` has no digits left, this
    is the series of `-log(1 - v)`, exact to 2^-26 below 2^-8.
    """
    cells = 2.0**23
    v = ops.minimum((ops.floor(coarse * cells) + fine + 2.0**-24) / cells, 1.0 - 2.0**-24)
    series = v * (1.0 + v * (0.5 + v / 3.0))
    return ops.where(v < 2.0**-8, series, -ops.log(1.0 - v))


def gather_last(x, places):
    return ops.take_along_axis(x, places, axis=-1)


def wait_for(x, norm):
    """The integers `x`, not before the number `norm >= 0` is known.

    Two updates that the compiler sees as independent run side by side, in the memory of both: a step of
    the digits' size then plans 2.1 times the temporaries of its larger half. Barriers and control
    dependencies are gone by the time XLA plans memory on a CPU; a sum that it cannot know to be `x`
    stays.
    """
    return x + ops.cast(ops.equal(norm, -1.0), x.dtype)


def keep_unfused(x, z):
    """The floats `x` `(batch, length, n)`, cut off from what is made of them.

    `z` are ids, `(batch, length)`, never negative, as the compiler cannot know.
    XLA on a CPU fuses a last block, a head and the softmax of its logits into one kernel, which takes
    longer than they do apart: a tenth of a sampler's step of the digits' size on JAX 0.10. A choice
    by something that it cannot know ends such a kernel.
    """
    return ops.where(ops.expand_dims(z >= 0, -1), x, 0.0)


def made_later(tensors, upstream):
    """The floats `tensors`, not before the gradient `upstream` is known.

    What is made again from them is then made in the backward pass. XLA on a CPU takes barriers away
    before it merges equal computations, and would keep what was made first. No gradient that counts
    is 3e38, which it cannot know.
    """
    first = ops.sum(ops.cast(ops.reshape(upstream, (-1,))[:1], "float32"))  # 0 of no rows
    known = first != 3e38
    return [ops.where(known, x, ops.zeros_like(x)) for x in tensors]
