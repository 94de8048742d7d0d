"""Students made for one number of network calls, sampled with others.

    python -m benchmarks.across --sets permutations modes --calls 1 2 4 8 --rounds 1000
    python -m benchmarks.across --sets permutations modes --calls 4 8 --rounds 1000 --begun-for 2

Settings, teachers and judges are those of `benchmarks/methods.py`, and so are the other arguments;
students are those of D-MMD by default. Those that are begun for another number of calls spend `--share`
of their rounds as students for that, and go on with the same critic. What is done lies in the folder:
the same command goes on where it stopped.
"""

import argparse
import itertools
import os

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, read_or_make, write_json
from benchmarks.methods import parse, set_of, student_of
from keras_dmmd.metrics.statistics import mean_and_error

METHOD = "D-MMD, default"


def begun_student(data, steps, seed, args):
    """A student that is for `args.begun_for` calls first, and for `steps` then."""
    keras.utils.set_random_seed(seed)
    teacher, rows = data.teacher(), data.rows(args.rounds, seed + 1)
    first = round(args.share * args.rounds)
    beginning = kd.DMMDDistiller(teacher, steps=args.begun_for, seed=seed)
    # As `annealed_optimizers`, at the rate with which they begin.
    constant = {"beta_1": 0.0, "beta_2": 0.99, "global_clipnorm": 1.0}
    beginning.compile(*(keras.optimizers.Adam(args.learning_rate, **constant) for _ in range(2)))
    options = {"batch_size": args.batch_size, "shuffle": False, "verbose": 0}
    beginning.fit(rows[: first * args.batch_size], **options)
    models = {"student": beginning.student, "critic": beginning.critic}
    distiller = kd.DMMDDistiller(teacher, steps=steps, seed=seed, **models)
    distiller.compile(**kd.annealed_optimizers(args.rounds - first, args.learning_rate))
    distiller.fit(rows[first * args.batch_size :], **options)
    return distiller.student


def kind_of(args):
    """What sets these students apart, in names of files."""
    return f"across_begun_for_{args.begun_for}_{args.share:g}" if args.begun_for else "across"


def judged(name, data, steps, seed, args):
    """Figures of a student for `steps` calls, by the number of calls that it is sampled with."""

    def make():
        if args.begun_for:
            student = begun_student(data, steps, seed, args)
        else:
            student = student_of(METHOD, data, steps, seed, args)
        return {str(calls): data.score(student, calls, seed) for calls in args.calls}

    place = os.path.join(args.folder, name, f"rounds_{args.rounds}")
    os.makedirs(place, exist_ok=True)
    return read_or_make(os.path.join(place, f"{kind_of(args)}_{steps}_calls_seed_{seed}.json"), make)


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
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--begun-for", type=int, help="calls of the student in the first rounds")
    parser.add_argument("--share", type=float, default=0.2, help="of the rounds for these")
    known, others = parser.parse_known_args(argv)
    args = parse(others)
    vars(args).update(vars(known))
    rows = []
    for name in args.sets:
        own = list(summary(name, args))
        write_json(f"{kind_of(args)}_{name}", own, vars(args) | {"sets": [name]}, folder=args.path)
        rows += own
    print_table(rows, list(dict.fromkeys(key for row in rows for key in row)))
    return rows


if __name__ == "__main__":
    main()
