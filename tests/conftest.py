"""Every test starts from the same seed, on one thread: tests are small, threads only cost."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

if keras.backend.backend() == "torch":
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeds():
    keras.utils.set_random_seed(0)
