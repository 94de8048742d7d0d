"""Does every quickstart succeed? `examples/digits.py` as users run it, with a training seed each.

    KERAS_BACKEND=jax python -m benchmarks.quickstart --runs 10
    KERAS_BACKEND=jax python -m benchmarks.quickstart --runs 10 --process uniform

Of each run the distance of the student that it trained, in the 8 calls it was made for, the teacher's
in 16, and the minutes of the whole script, tables and pictures included. A run that is done is not
made again: the same command goes on where it stopped.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from benchmarks.common import RESULTS, print_table, read_or_make, write_json
from keras_dmmd.metrics.statistics import mean_and_error

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "examples" / "digits.py"


def run(process, seed, place):
    """Run the script in a process of its own; what it found."""
    settings = {"PROCESS": process, "TRAINING_SEED": str(seed), "FOLDER": place}
    start = time.time()
    subprocess.run([sys.executable, SCRIPT], env=os.environ | settings, check=True)
    minutes = (time.time() - start) / 60
    with open(os.path.join(place, "digits.json")) as file:
        found = json.load(file)
    row = {"seed": seed, "minutes": round(minutes, 2), "minutes_distilling": found["minutes"]}
    for name, model, calls in (("student_8", "student", "8"), ("teacher_16", "teacher", "16")):
        row[name], row[f"{name}_error"] = found["frechet"][model][calls]
    settings = {name: found[name] for name in ("rounds", "samples", "seeds", "learning_rate")}
    return {**row, "settings": settings}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="training seed of the first run")
    parser.add_argument("--process", choices=["masked", "uniform"], default="masked")
    parser.add_argument("--folder", default="runs/quickstart")
    parser.add_argument("--path", default=RESULTS, help="folder of the result file")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    rows = []
    for seed in range(args.first, args.first + args.runs):
        place = os.path.join(args.folder, f"{args.process}_{seed}")
        os.makedirs(place, exist_ok=True)
        file = os.path.join(place, "figures.json")
        rows.append(read_or_make(file, lambda: run(args.process, seed, place)))  # noqa: B023
    ahead = sum(row["student_8"] < row["teacher_16"] for row in rows)
    write_json(f"quickstart_{args.process}", rows, vars(args) | {"ahead": ahead}, folder=args.path)
    columns = ["seed", "student_8", "student_8_error", "teacher_16", "teacher_16_error"]
    print_table(rows, [*columns, "minutes_distilling", "minutes"])
    for name in ("student_8", "teacher_16"):
        mean, error = mean_and_error(np.array([row[name] for row in rows]))
        print(f"{name}: {mean:.3f} ± {error:.3f} over training seeds")
    print(f"ahead in {ahead} of {args.runs} runs")
    return rows


if __name__ == "__main__":
    main()
