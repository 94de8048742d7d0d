"""Sizes of batches: few different ones, so that few steps are compiled."""


def up(size, parts=1):
    """The least bucket that holds `size`: 1, 4, 8, 12, 16, 24, 32, 48, 64, …; so many times `parts`."""
    if parts > 1:
        return parts * up(-(-size // parts))
    if size <= 1:
        return 1
    power = max(4, 1 << (size - 1).bit_length())
    between = power * 3 // 4
    return between if between > 8 and size <= between else power


def down(size):
    """The largest bucket that fits into `size`; 2 and 3 stay what they are."""
    if size < 4:
        return size
    power = 1 << (size.bit_length() - 1)
    between = power * 3 // 2
    return between if 8 < between <= size else power


class BatchSizes:
    """How many rows are drawn at once.

    Where a step is compiled for every shape, an incomplete batch is filled up: to `asked`, or to a
    bucket. Where none is compiled the batches are about equal, and nothing is wasted.

    Args:
        n: number of samples.
        asked: rows at once, as the user wants them, or `None`.
        most: rows that fit, in each of the parts.
        compiled: whether another shape is compiled for.
        parts: what divides the size of every batch.

    Attributes:
        most: rows at once, at the most.
    """

    def __init__(self, n, asked, most, compiled, parts=1):
        self.parts = parts
        self.compiled, self.pads = compiled, compiled and asked is not None
        if asked is not None:
            self.most = parts * -(-asked // parts)
        else:
            self.most = parts * down(most) if compiled else -(-n // -(-n // most))

    def of(self, left):
        """The size of a batch, with so many rows to come."""
        if self.pads or left >= self.most:
            return self.most
        return min(up(left, self.parts), self.most) if self.compiled else left

    def halve(self):
        """What did not fit is tried with half as many."""
        self.most = self.parts * -(-self.most // (2 * self.parts))
