"""One student for every number of calls, beside students made for one number, and their teacher.

    python -m benchmarks.calls --set digits --ranges 1-64 2 8 --rounds 3000 --folder runs/calls

All students of a set are trained for as many rounds, from the same seed. Teacher and students are then
sampled with 1 to 64 calls. What is done lies in the folder: the same command goes on where it stopped.
"""

import argparse
import json
import os
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, write_json
from examples.train_sequence_teacher import load
from keras_dmmd import metrics
from keras_dmmd.evaluation.machine import machine

CALLS = [1, 2, 4, 8, 16, 32, 64]
CARD = ("rounds", "learning_rate", "options", "policy", "seed")


def digits(args, teacher):
    """Rows to train on, and metrics."""
    (train, _), (test, _) = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    real = np.concatenate([train, test])
    return train, [metrics.FrechetDistance(features, real), metrics.Diversity(8)]


def sotu(args, teacher):
    _, train, _ = load("sotu", args.path, args.cache)
    once = train[: len(train) // 4]  # the rows of one of four cuts of the same speeches
    words = {word for row in teacher.tokenizer.decode(once) for word in row.split()[1:-1]}

    def known(ids):
        return {"known_words": metrics.known_words(teacher.tokenizer.decode(ids), words)[0]}

    judge = metrics.CausalReference.from_folder("sotu_chars_reference")
    judged = metrics.BitsPerCharacter(judge, teacher.tokenizer)
    score = metrics.SampleScore(known, "words of the speeches")
    return train, [judged, score, metrics.UnigramEntropy(), metrics.Diversity(8)]


def proteins(args, teacher):
    _, train, held_out = load("proteins", args.path, args.cache)
    judge = metrics.NGramReference(teacher.tokenizer.decode(held_out))
    judged = metrics.BitsPerCharacter(judge, teacher.tokenizer)
    return train, [judged, metrics.UnigramEntropy(), metrics.Diversity(8)]


def moses(args, teacher):
    _, train, _ = load("moses", args.path, args.cache)

    def scores(ids):
        found = metrics.score_molecules(teacher.tokenizer.decode(ids), k=len(ids))
        return {"validity": found["validity"], "unique": found[f"unique@{len(ids)}"]}

    return train, [
        metrics.SampleScore(scores, "molecules"),
        metrics.UnigramEntropy(),
        metrics.Diversity(8),
    ]


# By set: teacher, data, rows of a batch, samples of a cell.
SETS = {
    "digits": ("digits_masked_teacher", digits, 60, 1000),
    "digits_uniform": ("digits_uniform_teacher", digits, 60, 1000),
    "sotu": ("sotu_chars_teacher", sotu, 128, 200),
    "proteins": ("proteins_teacher", proteins, 512, 1000),
    "moses": ("moses_teacher", moses, 256, 500),
}


def number_or_range(text):
    """`8`, or `1-64` as a pair."""
    low, _, high = text.partition("-")
    return (int(low), int(high)) if high else int(low)


def place_of(calls, args):
    """The folder of the student for some calls."""
    name = calls if isinstance(calls, int) else "-".join(map(str, calls))
    return os.path.join(args.folder, args.set, f"student_{name}_seed_{args.seed}")


def title_of(calls):
    return f"student for {calls if isinstance(calls, int) else ' to '.join(map(str, calls))}"


def student_for(calls, args, teacher, rows, batch_size):
    """The student for some calls, a number or a pair; from the folder if it is there."""
    place = place_of(calls, args)
    if os.path.exists(os.path.join(place, "config.json")):
        return kd.from_preset(place)
    keras.utils.set_random_seed(args.seed)
    distiller = kd.DMMDDistiller(teacher, steps=calls, seed=args.seed, **args.options)
    epoch = min(100, args.rounds)
    distiller.compile(
        **kd.annealed_optimizers(epoch * (args.rounds // epoch), args.learning_rate),
        jit_compile=keras.backend.backend() != "torch",
    )
    start = time.time()
    distiller.fit(
        rows,
        batch_size=batch_size,
        steps_per_epoch=epoch,
        epochs=args.rounds // epoch,
        verbose=2,
        callbacks=[kd.callbacks.BackupAndResume(os.path.join(place, "backup"))],
    )
    kd.presets.save_to_preset(distiller.student, place, card=card(args, calls, batch_size, start))
    return kd.from_preset(place)  # as it would ship


def card(args, calls, batch_size, start):
    """What a student's card says of its training, which began at `start`."""
    return {
        "task": f"{args.set}: {title_of(calls)} network calls",
        "script": "benchmarks/calls.py",
        "teacher": SETS[args.set][0],
        "batch_size": batch_size,
        **{name: getattr(args, name) for name in CARD},
        "minutes": round((time.time() - start) / 60, 1),
        "machine": machine(),
    }


def score(place, rows, model, samples):
    """Write into the card of a student what a table says of it: by calls, value and error."""
    found = {
        str(row["steps"]): {
            name: [round(x, 4) for x in (row[name], row[f"{name}_error"]) if x is not None]
            for name in row
            if f"{name}_error" in row
        }
        for row in rows
        if row["model"] == model
    }
    seeds = next(row["seeds"] for row in rows if row["model"] == model)
    scored = {"samples": samples, "seeds": seeds, "machine": machine()}
    card = {**kd.presets.read_card(place), "scores": found, "scored_by": scored}
    kd.presets.save_to_preset(kd.from_preset(place), place, card=card)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=sorted(SETS), default="digits")
    parser.add_argument("--ranges", type=number_or_range, nargs="+", default=[(1, 64), 8])
    parser.add_argument("--calls", type=int, nargs="+", default=CALLS)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, help="of training; the set's own by default")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--options", type=json.loads, default={}, help="of DMMDDistiller")
    parser.add_argument("--policy", default="float32", help="of training, or mixed_bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, help="a cell; the set's own by default")
    parser.add_argument("--sampling-seeds", type=int, default=3)
    parser.add_argument("--path", help="where the data lie, see keras_dmmd.datasets")
    parser.add_argument("--cache", help="a .npz file of encoded rows")
    parser.add_argument("--folder", default="runs/calls")
    parser.add_argument("--train-only", action="store_true", help="leave the sampling for later")
    parser.add_argument("--results", default=None, help="folder of the result file")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    preset, data, batch_size, samples = SETS[args.set]
    keras.config.set_dtype_policy(args.policy)
    rows, judges = data(args, kd.from_preset(preset))
    models = {"teacher": kd.from_preset(preset)}
    for calls in args.ranges:
        models[title_of(calls)] = student_for(
            calls, args, kd.from_preset(preset), rows, args.batch_size or batch_size
        )
    if args.train_only:
        return None
    report = kd.evaluate(
        models,
        args.calls,
        judges,
        samples=args.samples or samples,
        seeds=range(args.sampling_seeds),
        folder=os.path.join(args.folder, args.set, f"report_seed_{args.seed}"),
        title=f"{args.set}: one student for every number of calls",
        shown=8,
    )
    print(f"{report.title}\n{report}")
    found = [{k: v for k, v in row.items() if k != "step_entropies"} for row in report.rows]
    for calls in args.ranges:
        score(place_of(calls, args), found, title_of(calls), args.samples or samples)
    kwargs = {} if args.results is None else {"folder": args.results}
    write_json(f"calls_{args.set}", found, vars(args), **kwargs)
    print_table(found, ["model", "calls", "seconds_per_sample"])
    return found


if __name__ == "__main__":
    main()
