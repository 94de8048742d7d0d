"""Samples as lines of text."""


def lines(model, samples):
    """Ids `(n, length)` as strings: their text, or the ids where there is no tokenizer."""
    if model.tokenizer is not None:
        return model.tokenizer.decode(samples)
    return [" ".join(map(str, ids)) for ids in samples]
