"""Every test starts from the same seed, on one thread: tests are small, threads only cost."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import keras
import pytest

if keras.backend.backend() == "torch":
    import torch

    torch.set_num_threads(1)

if keras.backend.backend() == "tensorflow":
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)

if keras.backend.backend() == "jax":
    # Many tests compile the same small step: most of the time of the suite on this backend.
    import jax

    cache = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True)
def seeds():
    keras.utils.set_random_seed(0)
