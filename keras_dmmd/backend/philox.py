"""TensorFlow's `tf.random.split`, of many keys at once and in plain integer operations.

The same numbers as its Philox kernels give (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2,
3", 2011), which take one key at a time and are in no runtime but TensorFlow's own.
"""

import tensorflow as tf

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
    even, odd = _block(_stream(keys), tf.cast(i // 2, tf.uint64))
    return tf.where(tf.equal(i % 2, 0), even, odd)


def _stream(keys):
    """What TensorFlow makes of a seed: a key's two words, and the upper two of a counter."""
    words = tf.cast(tf.bitcast(keys, tf.uint32), tf.uint64)
    signs = tf.where(keys < 0, _word(0xFFFFFFFF), _word(0))  # the upper halves of 64-bit integers
    seed = [words[:, 0], signs[:, 0], words[:, 1], signs[:, 1]]
    return _philox(seed, [_word(x) for x in SCRAMBLER])


def _block(stream, number):
    """Two keys int32 `(rows, 2)`, the block of a stream that has this number."""
    key_0, key_1, counter_2, counter_3 = stream
    zero = tf.zeros_like(counter_2)
    block = _philox([zero + number, zero, counter_2, counter_3], [key_0, key_1])
    pairs = (tf.stack(block[:2], axis=-1), tf.stack(block[2:], axis=-1))
    return [tf.bitcast(tf.cast(x, tf.uint32), tf.int32) for x in pairs]


def _philox(counter, key):
    """Four words of a counter's four and a key's two, each in the lower half of 64 bits."""
    low, high = _word(0xFFFFFFFF), _word(32)
    for _ in range(ROUNDS):
        products = [x * _word(m) for x, m in zip(counter[::2], MULTIPLIERS, strict=True)]
        uppers = [tf.bitwise.right_shift(x, high) for x in products]
        counter = [
            uppers[1] ^ counter[1] ^ key[0],
            products[1] & low,
            uppers[0] ^ counter[3] ^ key[1],
            products[0] & low,
        ]
        key = [(x + _word(w)) & low for x, w in zip(key, WEYL, strict=True)]
    return counter


def _word(value):
    return tf.constant(value, tf.uint64)
