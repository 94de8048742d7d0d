"""Training and held-out documents that have nothing in common."""

import hashlib


def split(documents, held_out=0.1, seed=0):
    """Divide documents at random, equal ones always to the same side.

    Which side a document takes depends on its text and the seed alone. So nothing leaks through
    duplicates, and a corpus that grows keeps the sides of the documents it had.

    Args:
        documents: an iterable of strings.
        held_out: expected share of distinct documents that is held out, between 0 and 1.
        seed: integer; another one makes another split.

    Returns:
        `(train, held_out)`: lists of strings, in the order given.
    """
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"`held_out` must lie between 0 and 1. Received: held_out={held_out}")
    sides = ([], [])
    for document in documents:
        if not isinstance(document, str):
            raise ValueError(f"Documents must be strings. Received: {type(document).__name__}")
        digest = hashlib.sha256(f"{seed}\n{document}".encode("utf-8", "surrogatepass")).digest()
        sides[int.from_bytes(digest[:8], "big") < held_out * 2**64].append(document)
    return sides
