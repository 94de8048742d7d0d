"""The finaliser of SplitMix64 (Steele, Lea & Flood, 2014), a bijection of 64 bits, on Torch."""

import contextlib

import torch

MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
# Each: shift, then multiply.
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))

_as_operation = False


def word(state):
    """Of a Python integer below 2^64."""
    state = (state + STEP) & MASK
    for shift, factor in ROUNDS:
        state = ((state ^ (state >> shift)) * factor) & MASK
    return state


def signed(value):
    """The signed integer of the same 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def mix(state):
    """`word` of each element of an int64 tensor."""
    return torch.ops.keras_dmmd.mix(state) if _as_operation else _mix(state)


def _mix(state):
    # With shifts of unsigned words; in place on a copy, since eager passes over memory are the cost.
    state = state + signed(STEP)
    shifted = torch.empty_like(state)
    for shift, factor in ROUNDS:
        torch.bitwise_right_shift(state, shift, out=shifted)
        state.bitwise_xor_(shifted.bitwise_and_(MASK >> shift)).mul_(signed(factor))
    return state


@contextlib.contextmanager
def as_operation():
    """Within it `mix` is one operation of its own, `keras_dmmd::mix`, in what is traced.

    A format that has shifts of unsigned words writes it with fewer operations than those above.
    """
    global _as_operation
    if not hasattr(torch.ops.keras_dmmd, "mix"):
        operation = torch.library.custom_op("keras_dmmd::mix", _mix, mutates_args=(), schema=SCHEMA)
        operation.register_fake(torch.empty_like)
    _as_operation = True
    try:
        yield torch.ops.keras_dmmd.mix.default
    finally:
        _as_operation = False


SCHEMA = "(Tensor state) -> Tensor"
