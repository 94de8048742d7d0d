"""`keras-dmmd`: look at models, write samples, distil and evaluate, from files and without code."""

import sys

from keras_dmmd.cli.arguments import parser


def main(argv=None):
    """Run a command; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except KeyboardInterrupt:
        print(f"keras-dmmd {args.command}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, EOFError, ImportError, ArithmeticError) as error:
        print(f"keras-dmmd {args.command}: {error}", file=sys.stderr)
        return 2
    return 0
