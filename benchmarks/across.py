"""Students made for one number of network calls, sampled with others.

    python -m benchmarks.across --sets permutations modes --calls 1 2 4 8 --rounds 1000

Settings, teachers and judges are those of `benchmarks/methods.py`, and so are the arguments; students
are those of D-MMD by default. What is done lies in the folder: the same command goes on where it
stopped.
"""

import itertools
import os

import numpy as np

from benchmarks.common import print_table, read_or_make, write_json
from benchmarks.methods import parse, set_of, student_of
from keras_dmmd.metrics.statistics import mean_and_error

METHOD = "D-MMD, default"


def judged(name, data, steps, seed, args):
    """Figures of a student for `steps` calls, by the number of calls that it is sampled with."""

    def make():
        student = student_of(METHOD, data, steps, seed, args)
        return {str(calls): data.score(student, calls, seed) for calls in args.calls}

    place = os.path.join(args.folder, name, f"rounds_{args.rounds}")
    os.makedirs(place, exist_ok=True)
    return read_or_make(os.path.join(place, f"across_{steps}_calls_seed_{seed}.json"), make)


def summary(name, args):
    """A row for each student and number of calls: means over training seeds, and their errors."""
    found = {}
    data = set_of(name, args)
    for seed, steps in itertools.product(range(args.seeds), args.calls):
        for calls, figures in judged(name, data, steps, seed, args).items():
            found.setdefault((steps, int(calls)), []).append(figures)
            print(name, steps, calls, seed, figures, flush=True)
    for (steps, calls), cells in found.items():
        row = {"set": name, "made for": steps, "calls": calls, "seeds": len(cells)}
        for figure in data.figures:
            mean, error = mean_and_error(np.array([cell[figure] for cell in cells]))
            row |= {figure: mean, f"{figure}_error": error if len(cells) > 1 else None}
        yield row


def main(argv=None):
    args = parse(argv)
    rows = []
    for name in args.sets:
        own = list(summary(name, args))
        write_json(f"across_{name}", own, vars(args) | {"sets": [name]}, folder=args.path)
        rows += own
    print_table(rows, list(dict.fromkeys(key for row in rows for key in row)))
    return rows


if __name__ == "__main__":
    main()
