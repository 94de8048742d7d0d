"""What is shown on a terminal, or written into a file in its place."""

import sys


def lines(model, samples):
    """Ids `(n, length)` as strings: their text, or the ids where there is no tokenizer."""
    if model.tokenizer is not None:
        return model.tokenizer.decode(samples)
    return [" ".join(map(str, ids)) for ids in samples]


def bar():
    """Keras's `verbose`: a bar that moves on a terminal, and nothing in a file."""
    return 1 if sys.stdout.isatty() else 0
