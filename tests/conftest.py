"""Every test starts from the same seed, on one thread: tests are small, threads only cost.

And compiling costs far more than running: XLA is told to hurry, on JAX but where a test is marked
`heavy`.
"""

import gc
import os
import pathlib

# In the environment, for the processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_multi_thread_eigen=false --xla_cpu_use_fusion_emitters=false "
    "--xla_force_host_platform_device_count=8",
)
if os.environ.get("KERAS_BACKEND") == "tensorflow":  # JAX is told test by test, see `hurry`
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"
    os.environ["XLA_FLAGS"] += " --xla_llvm_disable_expensive_passes=true"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Many tests compile the same small step: most of the time of the suite on JAX.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import keras
import pytest

if keras.backend.backend() == "torch":
    import torch

    torch.set_num_threads(1)

if keras.backend.backend() == "tensorflow":
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    # Two devices, for the tests of strategies.
    cpu = tensorflow.config.list_physical_devices("CPU")[0]
    parts = [tensorflow.config.LogicalDeviceConfiguration()] * 2
    tensorflow.config.set_logical_device_configuration(cpu, parts)


# What has been traced is kept as a million small objects, over which Python would go again and again.
gc.set_threshold(50_000, 20, 100)


def pytest_collection_modifyitems(config, items):
    """Slow tests first: at the end no worker waits minutes for the last one of another.

    What is marked `thorough` is left out unless it is asked for, by `-m thorough`.

    What is marked `long_compilation` is left out on TensorFlow, whose compilation takes most of its
    minute, and where the parts it is made of are tested one by one.
    """
    if keras.backend.backend() == "tensorflow":
        left_out = pytest.mark.skip(reason="compiles for long on TensorFlow")
        for item in items:
            if item.get_closest_marker("long_compilation"):
                item.add_marker(left_out)
    if "thorough" not in config.option.markexpr:
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    items.sort(key=lambda item: not {"slow", "heavy"} & {mark.name for mark in item.iter_markers()})


@pytest.fixture(autouse=True)
def hurry(request):
    if keras.backend.backend() == "jax":
        import jax

        heavy = request.node.get_closest_marker("heavy") is not None
        jax.config.update("jax_disable_most_optimizations", not heavy)


# Code that XLA has compiled is mapped into memory in many pieces; Linux lets a process have 65,530 of
# them, and LLVM dies of the next one.
MAPS = pathlib.Path("/proc/self/maps")
MOST_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def room_for_code():
    yield
    if keras.backend.backend() == "torch" or not MAPS.exists():
        return
    if MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        if keras.backend.backend() == "jax":
            import jax

            jax.clear_caches()
        gc.collect()  # once: there are gigabytes to go through


@pytest.fixture(autouse=True)
def seeds():
    keras.utils.set_random_seed(0)
