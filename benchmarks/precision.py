"""Students of the digits trained in half precision, beside an int8 teacher, or by one draw a round.

    KERAS_BACKEND=jax python -m benchmarks.precision --folder runs/precision

The masked teacher that ships is distilled into 8 calls, after the same rounds from the same training
seeds: under each dtype policy, with a teacher whose weights are int8, and with both updates of a round
made at once of one draw. Quality: the Fréchet distance to real digits in 8 calls. Every training is a
file in the folder: the same command goes on where it stopped.
"""

import argparse
import os
import time

import keras

import keras_dmmd as kd
from benchmarks import common
from benchmarks.adapters import CALLS, Digits
from keras_dmmd.metrics.statistics import mean_and_error

POLICIES = {
    "float32": "float32",
    "mixed_bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
    "float32, int8 teacher": "float32",
    "float32, simultaneous": "float32",
}


def distil(kind, seed, args, rows):
    """A student, and the minutes and skipped updates of its training."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(POLICIES[kind])
    teacher = kd.from_preset("digits_masked_teacher")
    at_once = "simultaneous" in kind
    distiller = kd.DMMDDistiller(teacher, steps=CALLS, simultaneous=at_once, seed=seed)
    if "int8" in kind:  # after the copies, which are trained
        teacher.quantize("int8")
    optimizers = kd.annealed_optimizers(args.rounds)
    distiller.compile(**optimizers, jit_compile=keras.backend.backend() != "torch")
    epoch = min(25, args.rounds)
    start = time.time()
    history = distiller.fit(
        rows,
        batch_size=args.batch_size,
        steps_per_epoch=epoch,
        epochs=args.rounds // epoch,
        verbose=0,
    )
    minutes = round((time.time() - start) / 60, 2)
    skipped = int(max(history.history.get("skipped", [0])))
    return distiller.student, {"minutes": minutes, "skipped": skipped}


def summary(rows):
    """Mean and standard error over training seeds, a row per kind."""
    found = []
    for kind in dict.fromkeys(row["training"] for row in rows):
        own = [row for row in rows if row["training"] == kind]
        mean, error = mean_and_error([row["frechet"] for row in own])
        minutes, _ = mean_and_error([row["minutes"] for row in own])
        row = {"training": kind, "seeds": len(own), "frechet": mean, "± error": error}
        found.append({**row, "minutes": minutes})
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=60)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--folder", required=True, help="of what is done, for going on")
    parser.add_argument("--path", default=common.RESULTS, help="folder of the result file")
    args = parser.parse_args(argv)
    os.makedirs(args.folder, exist_ok=True)
    data = Digits(args)

    def run(kind, seed):
        student, facts = distil(kind, seed, args, data.rows)
        return {"training": kind, "seed": seed, **facts, **data.score(student, seed)}

    policy = keras.config.dtype_policy()
    found = []
    try:
        for seed in range(args.seeds):
            for kind in args.kinds:
                path = os.path.join(args.folder, f"{kind}, {args.rounds} rounds, seed {seed}.json")
                found.append(common.read_or_make(path, lambda: run(kind, seed)))  # noqa: B023
                print(found[-1], flush=True)
    finally:
        keras.config.set_dtype_policy(policy)
    table = summary(found)
    common.print_table(table, list(table[0]))
    settings = {k: v for k, v in vars(args).items() if k not in ("folder", "path")}
    common.write_json("precision", {"summary": table, "runs": found}, settings, args.path)
    return table


if __name__ == "__main__":
    main()
