"""Students of the digits trained in half precision, beside an int8 teacher, or by one draw a round.

    KERAS_BACKEND=jax python -m benchmarks.precision --folder runs/precision

The masked teacher that ships is distilled into 8 calls, after the same rounds from the same training
seeds: under each dtype policy, with a teacher whose weights are int8, and with both updates of a round
made at once of one draw. Quality: the Fréchet distance to real digits in 8 calls. Every training is a
file in the folder: the same command goes on where it stopped.
"""

import argparse
import json
import os
import statistics
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import common

POLICIES = {
    "float32": "float32",
    "mixed_bfloat16": "mixed_bfloat16",
    "mixed_float16": "mixed_float16",
    "float32, int8 teacher": "float32",
    "float32, simultaneous": "float32",
}
CALLS = 8


def distil(kind, seed, args, rows):
    """A student, and minutes, skipped updates and a last loss."""
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


def score(model, calls, seed, args):
    """The Fréchet distance to all real digits."""
    (train, _), (test, _) = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    drawn = model.generate(args.samples, steps=calls, seed=seed, verbose=0)
    real = features.statistics(np.concatenate([train, test]))
    return float(kd.metrics.frechet_distance(features.statistics(drawn), real))


def read_or_make(path, make):
    """What a JSON file holds; it is written first where it is not there."""
    if not os.path.exists(path):
        found = make()
        with open(path + ".partial", "w") as file:
            json.dump(found, file, indent=1)
        os.replace(path + ".partial", path)
    with open(path) as file:
        return json.load(file)


def summary(rows):
    """Mean and standard error over training seeds, a row per kind."""
    found = []
    for kind in dict.fromkeys(row["training"] for row in rows):
        own = [row["frechet"] for row in rows if row["training"] == kind]
        error = statistics.stdev(own) / len(own) ** 0.5 if len(own) > 1 else float("nan")
        minutes = statistics.mean(row["minutes"] for row in rows if row["training"] == kind)
        found.append(
            {
                "training": kind,
                "seeds": len(own),
                "frechet": statistics.mean(own),
                "± error": error,
                "minutes": minutes,
            }
        )
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
    (rows, _), _ = kd.datasets.load_digits()

    def run(kind, seed):
        student, facts = distil(kind, seed, args, rows)
        return {"training": kind, "seed": seed, **facts, "frechet": score(student, CALLS, seed, args)}

    policy = keras.config.dtype_policy()
    found = []
    try:
        for seed in range(args.seeds):
            for kind in args.kinds:
                path = os.path.join(args.folder, f"{kind}, {args.rounds} rounds, seed {seed}.json")
                found.append(read_or_make(path, lambda: run(kind, seed)))  # noqa: B023
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
