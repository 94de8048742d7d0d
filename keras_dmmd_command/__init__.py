"""`keras-dmmd`, as far as it goes without Keras: the command line is read, then a command imported.

A package of its own, because importing anything from `keras_dmmd` imports Keras and a backend, which
takes seconds. Help, and mistakes in what was typed, need none of that.
"""

import importlib
import os
import shlex
import sys

from keras_dmmd_command.arguments import parser

# What a command raises where something is wrong with what it was given, or with the machine.
EXPECTED = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    ImportError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


def main(argv=None):
    """Run a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    args.line = shlex.join(["keras-dmmd", *argv])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its notes on the machine would drown ours
    try:
        module, _, name = args.run.partition(":")
        getattr(importlib.import_module(module), name)(args)
    except KeyboardInterrupt:
        print(f"keras-dmmd {args.command}: interrupted", file=sys.stderr)
        return 130
    except EXPECTED as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"keras-dmmd {args.command}: {message}", file=sys.stderr)
        return 2
    return 0
