"""The runs behind the course: two coins, and permutations of five symbols.

    python docs/course/runs.py [coins] [permutations]

trains teachers and students, some minutes on two cores, and writes what was measured to `coins.json`
and `permutations.json`, beside a digest of this script: `docs/make_site.py` repeats the runs when it
has changed. A digest of the library's code stands there too. Where that alone has changed the runs are
not repeated, which would take minutes after every change; `make_site.py` then says so.
"""

import hashlib
import json
import os
import pathlib
import sys

import keras
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import library

import keras_dmmd as kd

SYMBOLS, SAMPLES, BATCH_SIZE = 5, 4000, 64


def digest():
    """Of this script: what was measured by another one is measured again."""
    return hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()[:16]


def coins(n, seed):
    """Pairs of coins that always agree, ids `(n, 2)`: half are (0, 0) and half (1, 1)."""
    side = np.random.default_rng(seed).integers(0, 2, (n, 1))
    return np.repeat(side, 2, axis=1).astype("int32")


def permutations(n, seed):
    """Random orders of five symbols, ids `(n, 5)`."""
    return np.argsort(np.random.default_rng(seed).random((n, SYMBOLS)), axis=1).astype("int32")


def disagree(ids):
    """The share of pairs whose coins differ."""
    return np.mean(ids[:, 0] != ids[:, 1])


def valid(ids):
    """The share of rows in which every symbol occurs once."""
    return np.mean((np.sort(ids, axis=1) == np.arange(SYMBOLS)).all(axis=1))


def outcomes(ids):
    """Shares of (0, 0), (0, 1), (1, 0) and (1, 1)."""
    return (np.bincount(ids[:, 0] * 2 + ids[:, 1], minlength=4) / len(ids)).tolist()


def train(data, vocabulary_size, updates, epochs, **size):
    """A teacher, and its training and validation losses by update."""
    denoiser = kd.Denoiser(vocabulary_size, position="learned", length=data.shape[1], **size)
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(vocabulary_size))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, updates)
    teacher.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    rows = data[: updates // epochs * BATCH_SIZE]
    history = teacher.fit(rows, batch_size=BATCH_SIZE, epochs=epochs, verbose=0).history
    bound = teacher.evaluate(data[-1024:], corruptions=16, verbose=0, return_dict=True)
    return teacher, {"loss": history["loss"], "bits_per_dim": bound["bits_per_dim"]}


def distil(teacher, data, score, rounds, epochs=20, **options):
    """A student for one call, and its logs by epoch, with the score of its samples among them.

    Its loss is the paper's, which the course explains, without the temperature that is our default.
    """
    options = {"student_temperature": 1.0, **options}
    distiller = kd.DMMDDistiller(teacher, steps=1, seed=1, **options)
    distiller.compile(**kd.annealed_optimizers(rounds))
    look = kd.callbacks.SampleAndScore(
        [kd.metrics.SampleScore(score, "score")], steps=1, samples=SAMPLES
    )
    rows = data[: rounds // epochs * BATCH_SIZE]
    history = distiller.fit(
        rows, batch_size=BATCH_SIZE, epochs=epochs, callbacks=[look], verbose=0
    ).history
    logs = (
        "score",
        "student_loss",
        "critic_loss",
        "student_entropy",
        "log_ratio_mean",
        "log_ratio_std",
    )
    report = {name: [float(value) for value in history[name]] for name in logs}
    return distiller.student, {**report, "rounds": rounds // epochs}


def measure(model, score, calls):
    return {str(k): float(score(model.generate(SAMPLES, steps=k, seed=7, verbose=0))) for k in calls}


def run_coins():
    data = coins(40_000, seed=0)
    teacher, found = train(data, 2, updates=600, epochs=30, hidden_dim=32, num_layers=2, num_heads=2)
    found["disagree"] = measure(teacher, disagree, (1, 2, 4, 8, 16))
    found["outcomes"] = {"teacher": outcomes(teacher.generate(SAMPLES, steps=1, seed=7, verbose=0))}
    found["students"] = {}
    for name, options in {
        "no noise": {"noise": None},
        "noise": {"noise": "gaussian"},
    }.items():
        student, found["students"][name] = distil(teacher, data, disagree, 1000, **options)
        found["outcomes"][name] = outcomes(student.generate(SAMPLES, steps=1, seed=7, verbose=0))
        print("coins", name, found["outcomes"][name], flush=True)
    return found


WITHOUT_BOUNDS = {"teacher_weight": 1.0, "time_weighting": "nelbo", "max_log_ratio": None}


def run_permutations():
    data = permutations(80_000, seed=0)
    size = {"hidden_dim": 64, "num_layers": 2, "num_heads": 4}
    teacher, found = train(data, SYMBOLS, updates=2000, epochs=20, **size)
    found["valid"] = {"teacher": measure(teacher, valid, (1, 2, 3, 4, 5, 10))}
    print("permutations", found["valid"], found["bits_per_dim"], flush=True)
    found["students"] = {}
    for name, options in {
        "random tokens": {"noise": "token"},
        "a temperature": {"noise": "token", "student_temperature": 2.0},
        "a projection of zeros": {"noise": "gaussian"},
        "without bounds": {"noise": "token", **WITHOUT_BOUNDS},
    }.items():
        options["times"] = "grid"  # one call is all that they will ever make
        student, found["students"][name] = distil(teacher, data, valid, 1500, **options)
        found["valid"][name] = measure(student, valid, (1, 2, 3, 4, 5))
        rows = student.generate(SAMPLES, steps=1, seed=8, verbose=0)
        kinds = {tuple(row) for row in rows.tolist() if sorted(row) == list(range(SYMBOLS))}
        found["students"][name]["kinds"] = len(kinds)  # of the 120 permutations
        print("permutations", name, found["valid"][name], len(kinds), flush=True)
    return found


PARTS = {"coins": run_coins, "permutations": run_permutations}


def main(parts):
    for part in parts or PARTS:
        keras.utils.set_random_seed(0)
        found = PARTS[part]()
        found["digest"], found["library"] = digest(), library.digest()
        found["versions"] = {"keras": keras.__version__, "backend": keras.backend.backend()}
        file = pathlib.Path(__file__).with_name(f"{part}.json")
        file.with_suffix(".partial").write_text(json.dumps(found, indent=1) + "\n")
        os.replace(file.with_suffix(".partial"), file)


if __name__ == "__main__":
    main(sys.argv[1:])
