"""What samplers are worth: quality and diversity by the calls that they really take, three seeds.

    python -m benchmarks.samplers --sets digits sotu moses --folder runs/samplers

The masked teachers that ship. Samplers with a number of calls of their own choice are given as many as
there are tokens; what they took is in the table. A run that was interrupted goes on. Each set has a
result file of its own, so that several may run beside one another.
"""

import argparse
import os

import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, write_json
from keras_dmmd import metrics, samplers

# By the number of calls that is asked for, and of their own choice.
ON_A_GRID = {
    "ancestral": samplers.Ancestral(),
    "confidence, probability": samplers.Confidence(),
    "confidence, margin": samplers.Confidence("margin"),
    "confidence, entropy": samplers.Confidence("entropy"),
    "remasking, cap 0.04": samplers.Remasking(),
    "psi 0.95": samplers.Psi(0.95),
}
ADAPTIVE = {
    "threshold 0.9": samplers.Threshold(0.9),
    "threshold 0.6": samplers.Threshold(0.6),
    "entropy bound 0.1": samplers.EntropyBound(0.1),
    "entropy bound 1": samplers.EntropyBound(1.0),
    "entropy bound 1, temperature 0.8 to 0.4": samplers.EntropyBound(
        1.0, start_temperature=0.8, end_temperature=0.4
    ),
    "first hitting": samplers.FirstHitting(),
}


def digits():
    (train, _), (test, _) = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    real = np.concatenate([train, test])
    return {
        "models": {"digits": kd.from_preset("digits_masked_teacher")},
        "metrics": [metrics.FrechetDistance(features, real), metrics.Diversity(8)],
        "samples": 300,
    }


def sotu():
    teacher = kd.from_preset("sotu_chars_teacher")
    judge = metrics.CausalReference.from_folder("sotu_chars_reference")
    judged = metrics.BitsPerCharacter(judge, teacher.tokenizer)
    return {
        "models": {"sotu": teacher},
        "metrics": [judged, metrics.UnigramEntropy(), metrics.Diversity(8)],
        "samples": 100,
    }


def moses():
    teacher = kd.from_preset("moses_teacher")

    def scores(ids):
        found = metrics.score_molecules(teacher.tokenizer.decode(ids), k=len(ids))
        return {"validity": found["validity"], "unique": found[f"unique@{len(ids)}"]}

    return {
        "models": {"moses": teacher},
        "metrics": [metrics.SampleScore(scores, "molecules"), metrics.Diversity(8)],
        "samples": 200,
    }


SETS = {"digits": digits, "sotu": sotu, "moses": moses}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--samples", type=int, help="per cell; those of the set by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--folder", default="runs/samplers", help="of finished cells and pages")
    parser.add_argument("--path", default=None, help="where the tables are written")
    args = parser.parse_args(argv)
    for name in args.sets:
        results = []
        options = SETS[name]()
        options |= {"samples": args.samples} if args.samples else {}
        (model,) = options["models"].values()
        for kind, chosen, steps in (
            ("on a grid", ON_A_GRID, args.steps),
            ("adaptive", ADAPTIVE, [model.length]),
        ):
            report = kd.evaluate(
                steps=steps,
                samplers=chosen,
                seeds=args.seeds,
                folder=os.path.join(args.folder, name, kind.replace(" ", "_")),
                title=f"{name}: samplers {kind}",
                batch_size=args.batch_size,
                shown=8,
                **options,
            )
            rows = [{k: v for k, v in row.items() if k != "step_entropies"} for row in report.rows]
            results += rows
            print(f"{report.title}\n{report}\n", flush=True)
        kwargs = {} if args.path is None else {"folder": args.path}
        write_json(f"samplers_{name}", results, vars(args) | {"sets": [name]}, **kwargs)
        print_table(results, ["model", "sampler", "calls", "seconds_per_sample"])


if __name__ == "__main__":
    main()
