"""What processes are told of each other's errors."""

import pytest

from keras_dmmd.backend.meetings import is_loss, portable

pytestmark = pytest.mark.plain


@pytest.mark.parametrize(
    "text",
    [
        "UNKNOWN: Gloo all-reduce failed: [pair.cc:547] Connection closed by peer [127.0.0.1]:4321",
        "[pair.cc:534] Connection reset by peer",
        "Timed out waiting 30000ms for recv operation to complete",
        "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats)",
        "NCCL error: remote process exited or there was a network error, NCCL version 2.27",
    ],
)
def test_another_process_is_lost(text):
    assert is_loss(RuntimeError(text))


@pytest.mark.parametrize(
    "text",
    [
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes for NCCL",
        "INTERNAL: Gloo all-gather failed: invalid size",
        "NCCL error: invalid usage, Duplicate GPU detected",
        "The size of tensor a (3) must match the size of tensor b (4)",
    ],
)
def test_other_errors_are_what_they_say(text):
    assert not is_loss(RuntimeError(text))


class Strange(Exception):
    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")


def test_errors_that_go_to_other_processes():
    error = OSError(28, "full")
    assert portable(error) is error
    found = portable(Strange("fire", "home"))
    assert isinstance(found, RuntimeError) and str(found) == "Strange: fire at home"
