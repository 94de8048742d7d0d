"""Words of 64 bits on TensorFlow, and the finaliser of SplitMix64 (Steele, Lea & Flood, 2014) on them.

They are unsigned integers; or, within `in_halves`, signed ones of the same bits, whose shifts and
exclusive ors are of their halves: LiteRT has these for 32 bits alone, and sums and products of signed
integers alone for 64.
"""

import contextlib

import tensorflow as tf

STEP = 0x9E3779B97F4A7C15
# Each: shift, then multiply.
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))

_in_halves = False


@contextlib.contextmanager
def in_halves():
    """A context in which what is traced has no operation on words that LiteRT lacks."""
    global _in_halves
    _in_halves = True
    try:
        yield
    finally:
        _in_halves = False


def is_lite():
    """Whether this is traced `in_halves`."""
    return _in_halves


def is_word(tensor):
    return tensor.dtype in (tf.uint64, tf.int64)


def word(value):
    """A constant, of a Python integer."""
    value &= 2**64 - 1
    return tf.constant(signed(value, 64), tf.int64) if _in_halves else tf.constant(value, tf.uint64)


def words(integers):
    """Of integers that are not negative."""
    return tf.cast(integers, tf.int64 if _in_halves else tf.uint64)


def of_half(half):
    """Of the lower 32 bits, int32."""
    if _in_halves:
        return whole(half, tf.zeros_like(half))
    return tf.cast(tf.bitcast(half, tf.uint32), tf.uint64)


def xor(a, b):
    if not _in_halves:
        return a ^ b
    return tf.bitcast(tf.bitcast(a, tf.int32) ^ tf.bitcast(b, tf.int32), tf.int64)


def upper(state):
    """The upper 24 of 64 bits, int32."""
    if _in_halves:
        return _shifted(halves(state)[1], 8)
    return tf.cast(tf.bitwise.right_shift(state, word(40)), tf.int32)


def mix(state):
    """A bijection of 64 bits."""
    state = state + word(STEP)
    for shift, factor in ROUNDS:
        state = _folded(state, shift)
        state = state * word(factor) if factor != 1 else state
    return state


def _folded(state, shift):
    """The exclusive or of a word and itself, shifted to the right by less than 32 bits."""
    if not _in_halves:
        return state ^ tf.bitwise.right_shift(state, word(shift))
    low, high = halves(state)
    carried = high * tf.constant(1 << (32 - shift), tf.int32)
    return whole(low ^ _shifted(low, shift) ^ carried, high ^ _shifted(high, shift))


def unstacked(words, n):
    """The n rows of a tensor of words, a list."""
    return [words[i] for i in range(n)] if _in_halves else tf.unstack(words, num=n)


def halves(words):
    """The lower and the upper 32 bits of int64, int32."""
    return tf.unstack(tf.bitcast(words, tf.int32), axis=-1)


def whole(low, high):
    """Int64 of two int32."""
    return tf.bitcast(tf.stack([low, high], axis=-1), tf.int64)


def signed(value, bits):
    """The signed integer of the same bits."""
    return value - (1 << bits) if value >> (bits - 1) else value


def _shifted(half, shift):
    """To the right, with zeros on the left."""
    half = tf.bitcast(half, tf.uint32)
    return tf.bitcast(tf.bitwise.right_shift(half, tf.constant(shift, tf.uint32)), tf.int32)
