"""One of two processes of JAX: what training and sampling return.

python -m tests.distribution.jax_process ADDRESS NUMBER FILE
"""

import os
import sys

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"
    sys.modules["tensorflow"] = None  # which takes longer to import than all of this

import keras
import numpy as np

from tests.builders import tiny_model, tokens


def results():
    """Losses, weights and samples; the last batch is of one row, which two devices do not divide."""
    model = tiny_model()
    model.compile(keras.optimizers.SGD(0.5))
    history = model.fit(tokens(9), batch_size=4, verbose=0).history["loss"]
    weights = [np.asarray(v.value) for v in model.trainable_variables]
    return [np.array(history), *weights, model.generate(5, steps=2, seed=3)]


if __name__ == "__main__":
    address, number, path = sys.argv[1:]
    keras.distribution.initialize(address, 2, int(number))
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    np.savez(path, *results())
