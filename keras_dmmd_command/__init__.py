"""`keras-dmmd`, as far as it goes without Keras: the command line is read, then a command imported.

A package of its own, because importing anything from `keras_dmmd` imports Keras and a backend, which
takes seconds. Help, and mistakes in what was typed, need none of that.
"""

import contextlib
import importlib
import io
import os
import shlex
import sys

from keras_dmmd_command.arguments import parser
from keras_dmmd_command.messages import one_sentence

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no terminal ends a training
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its notes on the machine would drown ours
    try:
        module, _, name = args.run.partition(":")
        getattr(importlib.import_module(module), name)(args)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        _close_stdout()
        return 141  # what a shell says of a process that SIGPIPE has ended
    except KeyboardInterrupt:
        print(f"keras-dmmd {args.command}: interrupted", file=sys.stderr)
        return 130
    except EXPECTED as error:
        print(f"keras-dmmd {args.command}: {one_sentence(error, args)}", file=sys.stderr)
        return 2
    return 0


def _close_stdout():
    """Python flushes it at its own end, and would complain again."""
    with contextlib.suppress(OSError, ValueError):  # it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
