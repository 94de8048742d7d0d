"""Pickles read as data: their instructions are followed here, and none of them can run anything.

A pickle is a program for a small machine, of which a few instructions import and call functions. The
machine here has none that do: what a pickle names is kept as a `Name`, what it would call as a `Call`.
`pickletools` of Python's library takes the file apart and executes nothing.
"""

import dataclasses
import pickletools
from typing import Any

# The hundreds of tensors of a network, their averages and its optimizer take some ten thousand.
MOST_INSTRUCTIONS = 1_000_000
# Whoever writes these into a file of weights means harm; other names belong to settings.
HARMFUL_MODULES = ("os", "posix", "nt", "sys", "subprocess")
HARMFUL_BUILTINS = ("eval", "exec", "compile", "__import__")
MARK = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """A class or a function that a pickle names; it is not imported."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What a pickle would make by a call, which is not made."""

    function: Any
    arguments: tuple


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """What a pickle says lies beside it."""

    key: Any


def read(content):
    """The object that a pickle describes, of plain values, `Name`s, `Call`s and `Stored`s.

    Dictionaries keep what stands under strings and integers, sets are lists, and the state of objects
    is left out.

    Args:
        content: bytes.

    Raises:
        ValueError: it is no pickle, a broken one, a very long one, or names what does harm.
    """
    stack, memo = [], {}
    for count, (code, argument, _) in enumerate(pickletools.genops(content)):
        if count >= MOST_INSTRUCTIONS:
            raise ValueError(f"the pickle has more than {MOST_INSTRUCTIONS:,} instructions")
        if code.name not in INSTRUCTIONS:
            raise ValueError(f"the pickle has the instruction {code.name}, which is not for weights")
        try:
            INSTRUCTIONS[code.name](stack, memo, argument)
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f"the pickle's instruction {count}, {code.name}, does not fit") from error
    if len(stack) != 1 or stack[0] is MARK:
        raise ValueError("the pickle does not end with one object")
    return stack[0]


def _name(module, name):
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a name is not a string")
    root = module.partition(".")[0]
    builtin = root in ("builtins", "__builtin__")
    if root in HARMFUL_MODULES or (builtin and name in HARMFUL_BUILTINS):
        raise ValueError(
            f"it holds other objects, which are not opened, and among them {module}.{name}, which "
            "weights have no use for"
        )
    return Name(module, name)


def _call(function, arguments):
    if function == Name("collections", "OrderedDict") and not arguments:
        return {}
    return Call(function, tuple(arguments))


def _pop(stack, n):
    taken = stack[-n:]
    if len(taken) < n or any(part is MARK for part in taken):
        raise IndexError("too few objects")
    del stack[-n:]
    return taken


def _to_mark(stack):
    start = next((i for i in reversed(range(len(stack))) if stack[i] is MARK), None)
    if start is None:
        raise IndexError("there is no mark")
    taken = stack[start + 1 :]
    del stack[start:]
    return taken


def _extend(stack, items):
    if isinstance(stack[-1], list):
        stack[-1].extend(items)


def _set(stack, items):
    if isinstance(stack[-1], dict):
        pairs = zip(items[::2], items[1::2], strict=True)
        stack[-1].update((key, value) for key, value in pairs if isinstance(key, (str, int)))


def _dict(stack, items):
    stack.append({})
    _set(stack, items)


def _remember(stack, memo, place):
    memo[place] = stack[-1]


def _values(*names):
    return {name: lambda stack, memo, argument: stack.append(argument) for name in names}


def _constants(**values):
    return {
        name: lambda stack, memo, argument, value=value: stack.append(value())
        for name, value in values.items()
    }


# Each is given the stack, the memory and its argument in the file.
INSTRUCTIONS = {
    **_values("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    **_values("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    **_values("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    **_constants(NONE=lambda: None, NEWTRUE=lambda: True, NEWFALSE=lambda: False, MARK=lambda: MARK),
    **_constants(EMPTY_TUPLE=tuple, EMPTY_LIST=list, EMPTY_SET=list, EMPTY_DICT=dict),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda s, m, a: None),
    "POP": lambda s, m, a: s.pop(),
    "POP_MARK": lambda s, m, a: _to_mark(s),
    "DUP": lambda s, m, a: s.append(s[-1]),
    "TUPLE": lambda s, m, a: s.append(tuple(_to_mark(s))),
    "TUPLE1": lambda s, m, a: s.append(tuple(_pop(s, 1))),
    "TUPLE2": lambda s, m, a: s.append(tuple(_pop(s, 2))),
    "TUPLE3": lambda s, m, a: s.append(tuple(_pop(s, 3))),
    "LIST": lambda s, m, a: s.append(_to_mark(s)),
    "FROZENSET": lambda s, m, a: s.append(_to_mark(s)),
    "DICT": lambda s, m, a: _dict(s, _to_mark(s)),
    "APPEND": lambda s, m, a: _extend(s, _pop(s, 1)),
    "APPENDS": lambda s, m, a: _extend(s, _to_mark(s)),
    "ADDITEMS": lambda s, m, a: _extend(s, _to_mark(s)),
    "SETITEM": lambda s, m, a: _set(s, _pop(s, 2)),
    "SETITEMS": lambda s, m, a: _set(s, _to_mark(s)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _remember),
    "MEMOIZE": lambda s, m, a: _remember(s, m, len(m)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda s, m, a: s.append(m[a])),
    "GLOBAL": lambda s, m, a: s.append(_name(*a.split(" ", 1))),
    "STACK_GLOBAL": lambda s, m, a: s.append(_name(*_pop(s, 2))),
    "INST": lambda s, m, a: s.append(_call(_name(*a.split(" ", 1)), _to_mark(s))),
    "OBJ": lambda s, m, a: s.append(Call(None, tuple(_to_mark(s)))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda s, m, a: s.append(_call(*_pop(s, 2)))),
    "NEWOBJ_EX": lambda s, m, a: s.append(_call(*_pop(s, 3)[:2])),
    "BUILD": lambda s, m, a: _pop(s, 1),
    "PERSID": lambda s, m, a: s.append(Stored(a)),
    "BINPERSID": lambda s, m, a: s.append(Stored(*_pop(s, 1))),
}
