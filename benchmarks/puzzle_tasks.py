"""Tasks whose answers a rule checks exactly: permutations, copies, Latin squares, Sudoku, sorting."""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Task(NamedTuple):
    """Rows to learn, and a rule for them.

    Attributes:
        vocabulary_size: K; tokens are 0..K-1.
        length: tokens of a row.
        is_valid: a function from rows `(n, length)` to bools `(n,)`.
        support: all valid rows `(m, length)`, equally likely, or `None` where they are too many.
        grid: `(rows, columns)`, of squares.
        draw: a function from a number and a numpy generator to rows and to which tokens are given,
            bool `(n, length)` or `None`; by default rows of the support.
    """

    vocabulary_size: int
    length: int
    is_valid: Callable
    support: Any = None
    grid: Any = None
    draw: Callable = None

    @property
    def probabilities(self):
        """Of the rows of the support, `(m,)`."""
        return np.full(len(self.support), 1 / len(self.support))

    def rows(self, number, rng):
        """Rows `(number, length)`, and which of their tokens are given, or `None`."""
        if self.draw is not None:
            return self.draw(number, rng)
        return self.support[rng.integers(0, len(self.support), number)], None


def permutations(n=5):
    """n! equally likely rows; one factorised call is right with `n!/n^n`, 3.8 % for n = 5."""
    support = np.array(list(itertools.permutations(range(n))), "int32")
    return Task(n, n, lambda rows: _all_different(rows, n), support)


def copies(half=4, symbols=4):
    """Two equal halves: one factorised call is right with `symbols^-half`."""
    words = np.array(list(itertools.product(range(symbols), repeat=half)), "int32")
    support = np.concatenate([words, words], axis=1)
    return Task(symbols, 2 * half, lambda rows: (rows[:, :half] == rows[:, half:]).all(1), support)


def latin_squares(n=4):
    """576 squares of order 4, 161,280 of order 5."""
    return Task(n, n * n, lambda rows: _is_latin(rows, n), _squares(n), (n, n))


def sudoku():
    """The 288 Sudokus of 4 × 4."""
    support = _squares(4)
    return Task(4, 16, lambda rows: _is_sudoku(rows, 2), support[_is_sudoku(support, 2)], (4, 4))


def sudoku_completion(holes=40):
    """Sudokus of 9 × 9 of which all but so many cells are given; any right completion counts."""
    base = np.array([[(3 * (r % 3) + r // 3 + c) % 9 for c in range(9)] for r in range(9)])

    def lines(rng):  # rows may change places within their band, and bands
        return np.concatenate([3 * band + rng.permutation(3) for band in rng.permutation(3)])

    def draw(number, rng):
        grids = [rng.permutation(9)[base[lines(rng)][:, lines(rng)]].ravel() for _ in range(number)]
        order = rng.random((number, 81)).argsort(axis=1).argsort(axis=1)
        return np.array(grids, "int32"), order >= holes

    return Task(9, 81, lambda rows: _is_sudoku(rows, 3), grid=(9, 9), draw=draw)


def sorting(n=6, symbols=8):
    """A list that is given, and the same in order."""

    def draw(number, rng):
        lists = rng.integers(0, symbols, (number, n)).astype("int32")
        given = np.broadcast_to(np.arange(2 * n) < n, (number, 2 * n))
        return np.concatenate([lists, np.sort(lists, axis=1)], axis=1), np.array(given)

    return Task(
        symbols, 2 * n, lambda rows: (np.sort(rows[:, :n], axis=1) == rows[:, n:]).all(1), draw=draw
    )


TASKS = {
    "permutations": permutations,
    "copies": copies,
    "latin_4": latin_squares,
    "latin_5": lambda: latin_squares(5),
    "sudoku_4": sudoku,
    "sudoku_9": sudoku_completion,
    "sorting": sorting,
}


def factorised(task, calls):
    """What one call can do at best where tokens are drawn each on its own, else `None`.

    The marginals of all tasks with a support are uniform, so a row is any of `K^length`.
    """
    if calls > 1 or task.support is None:
        return None
    return math.exp(math.log(len(task.support)) - task.length * math.log(task.vocabulary_size))


def _all_different(groups, n):
    return (np.sort(groups, axis=-1) == np.arange(n)).all(-1)


def _is_latin(rows, n):
    squares = np.asarray(rows).reshape(-1, n, n)
    return _all_different(squares, n).all(1) & _all_different(squares.swapaxes(1, 2), n).all(1)


def _is_sudoku(rows, box):
    n = box * box
    boxes = np.asarray(rows).reshape(-1, box, box, box, box).swapaxes(2, 3).reshape(-1, n, n)
    return _is_latin(rows, n) & _all_different(boxes, n).all(1)


def _squares(n):
    """All Latin squares of order n, `(m, n²)`, a row of the square after the other."""
    lines = np.array(list(itertools.permutations(range(n))), "int32")
    found = lines[:, None]
    for _ in range(n - 1):
        clash = (found[:, None] == lines[None, :, None]).any((2, 3))
        square, line = np.nonzero(~clash)
        found = np.concatenate([found[square], lines[line][:, None]], axis=1)
    return found.reshape(len(found), n * n)
