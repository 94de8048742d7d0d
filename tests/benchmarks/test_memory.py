import keras
import numpy as np
import pytest

from benchmarks import parts
from keras_dmmd import backend, random


@pytest.mark.heavy  # a plan with all optimizations is the one that matters
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="reads XLA's plan through JAX")
def test_the_updates_of_a_step_take_turns_in_memory():
    """A step plans about what its larger update does, not both: 1.1 times in `benchmarks/memory.py`,
    against 2.1 side by side."""
    distiller, x = parts.build_distiller(hidden=64, layers=2), parts.batch(64)
    step = parts.temporaries(parts.lower_train(distiller, x))
    update = parts.updates(distiller)["student forward, backward, Adam"]
    alone = parts.temporaries(parts.lower_train(update, x))
    assert 0.8 * alone < step < 1.5 * alone


@pytest.mark.parametrize("norm", [0.0, 3.0, np.inf, np.nan])
def test_a_key_that_waits_is_the_same_key(norm):
    key = random.as_key(7)
    waited = backend.wait_for(key, keras.ops.convert_to_tensor(np.float32(norm)))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(waited), keras.ops.convert_to_numpy(key))
