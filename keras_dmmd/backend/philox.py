"""TensorFlow's `tf.random.split`, of many keys at once and in plain integer operations.

The same numbers as its Philox kernels give (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2,
3", 2011), which take one key at a time and are in no runtime but TensorFlow's own. Words of 32 bits are
int32, which wrap around.
"""

import tensorflow as tf

from keras_dmmd.backend.tensorflow_words import halves, signed, whole

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
# By what TensorFlow makes a key of a seed.
SCRAMBLER = 0x3EC8F720, 0x02461E29


def split(keys, n):
    """A list of `n` keys int32 `(rows, 2)` of keys int32 `(rows, 2)`."""
    stream = _stream(keys)
    found = [key for i in range(-(-n // 2)) for key in _block(stream, _word(i))]
    return found[:n]


def pick(keys, i):
    """The key `split(keys, n)[i]`, of an int32 tensor i."""
    even, odd = _block(_stream(keys), i // 2)
    return tf.where(tf.equal(i % 2, 0), even, odd)


def _stream(keys):
    """What TensorFlow makes of a seed: a key's two words, and the upper two of a counter."""
    signs = tf.where(keys < 0, _word(-1), _word(0))  # the upper halves of 64-bit integers
    seed = [keys[:, 0], signs[:, 0], keys[:, 1], signs[:, 1]]
    return _philox(seed, [_word(x) for x in SCRAMBLER])


def _block(stream, number):
    """Two keys int32 `(rows, 2)`, the block of a stream that has this number."""
    key_0, key_1, counter_2, counter_3 = stream
    zero = tf.zeros_like(counter_2)
    block = _philox([zero + number, zero, counter_2, counter_3], [key_0, key_1])
    return tf.stack(block[:2], axis=-1), tf.stack(block[2:], axis=-1)


def _philox(counter, key):
    """Four words, of a counter's four and a key's two."""
    for _ in range(ROUNDS):
        (low_0, high_0), (low_2, high_2) = (
            _product(x, m) for x, m in zip(counter[::2], MULTIPLIERS, strict=True)
        )
        counter = [high_2 ^ counter[1] ^ key[0], low_2, high_0 ^ counter[3] ^ key[1], low_0]
        key = [x + _word(w) for x, w in zip(key, WEYL, strict=True)]
    return counter


def _product(x, factor):
    """The lower and the upper word of a product of two."""
    return halves(whole(x, tf.zeros_like(x)) * tf.constant(factor, tf.int64))


def _word(value):
    return tf.constant(signed(value, 32) if value > 0 else value, tf.int32)
