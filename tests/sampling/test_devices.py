"""One device and four: rows of samples are the same, and batches that four cannot share are refused."""

import os
import subprocess
import sys

import keras
import pytest

CODE = """
import jax, keras, numpy as np
from tests.builders import randomise, small_model

def draw():
    return randomise(small_model()).generate(7, steps=3, seed=5, batch_size=4)

one = draw()
assert len(jax.devices()) == 4
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=jax.devices()))
model = randomise(small_model())
assert len(model.denoiser.head.kernel.value.sharding.device_set) == 4
np.testing.assert_array_equal(draw(), one)
assert len(np.unique(one, axis=0)) > 1

model.compile("adam")
data = np.zeros((11, 5), "int32")
for source in (data, ((part,) for part in (data[:8], data[8:]))):
    try:
        model.fit(source, batch_size=8 if source is data else None, verbose=0)
    except ValueError as error:
        assert "A batch of 3 rows cannot be shared by 4 devices" in str(error), error
    else:
        raise AssertionError("3 rows on 4 devices")
assert np.isfinite(model.fit(data[:8], batch_size=4, verbose=0).history["loss"]).all()
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras distributes on JAX")
def test_one_device_or_four():
    flags = "--xla_force_host_platform_device_count=4 --xla_cpu_multi_thread_eigen=false"
    environment = {**os.environ, "XLA_FLAGS": flags}
    subprocess.run([sys.executable, "-c", CODE], check=True, env=environment)
