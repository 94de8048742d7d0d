"""Runs that are killed again and again come to the same bits as one that is left alone.

    KERAS_BACKEND=jax python -m benchmarks.kills --kills 50

A teacher and a distiller are trained in processes of their own, with other callbacks, shuffled data and
a checkpoint every few steps. `kill -9` comes at a random moment after training has begun, in the middle
of a write as well; the next process goes on. When a run has ended, all its variables, random streams,
optimizers and logs are compared with those of a run without kills. Exits with an error at a difference.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, write_json

KINDS = ("teacher", "distiller")


def model_of(kind):
    keras.utils.set_random_seed(3)
    denoiser = kd.Denoiser(5, 6, hidden_dim=32, num_layers=2, num_heads=2, dropout=0.1, length=12)
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(5), length=12, seed=1)
    teacher.build((None, 12))
    if kind == "teacher":
        teacher.compile(keras.optimizers.AdamW(1e-3, use_ema=True, global_clipnorm=1.0))
        return teacher
    distiller = kd.DMMDDistiller(teacher, steps=2, seed=2)
    distiller.compile()
    return distiller


class Begun(keras.callbacks.Callback):
    """Tells the parent that from now on a kill is one in training."""

    def on_train_begin(self, logs=None):
        print("begun", flush=True)


def child(kind, folder, path, save_freq, epochs):
    """Train, going on where a former process was killed; write a digest of the outcome."""
    model = model_of(kind)
    x = np.random.default_rng(0).integers(0, 5, (100, 12))
    monitor = "loss" if kind == "teacher" else "student_loss"
    history = model.fit(
        x,
        batch_size=16,
        epochs=epochs,
        validation_data=(x[:20],),
        verbose=0,
        callbacks=[
            kd.callbacks.BackupAndResume(folder, save_freq=save_freq),
            keras.callbacks.ReduceLROnPlateau(monitor, patience=1, mode="max")
            if kind == "teacher"
            else keras.callbacks.TerminateOnNaN(),
            keras.callbacks.EarlyStopping(
                monitor, patience=epochs, mode="max", restore_best_weights=True
            ),
            Begun(),
        ],
    )
    digest = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    with open(path, "w") as file:
        json.dump({"bits": digest.hexdigest(), "logs": history.history, "epochs": history.epoch}, file)


def run(kind, folder, path, args, rng=None, seconds=0.0):
    """One process; killed within so many seconds of training, by `rng`. Whether it was, and how long
    it trained."""
    command = [sys.executable, "-m", "benchmarks.kills", "--child", kind, folder, path]
    command += ["--save-freq", str(args.save_freq), "--epochs", str(args.epochs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    begun = time.perf_counter()
    if rng is not None:
        try:
            process.wait(rng.uniform(0.0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
    code = process.wait()
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"A {kind} ended with the exit status {code}.")
    return code == -signal.SIGKILL, time.perf_counter() - begun


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of teachers and distillers together")
    parser.add_argument("--save-freq", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--path", default=None, help="folder of the results")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        return child(*args.child, args.save_freq, args.epochs)
    rng, rows = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            expected = os.path.join(folder, "expected.json")
            _, seconds = run(kind, os.path.join(folder, f"{kind}_left_alone"), expected, args)
            kills = runs = differences = 0
            while kills < args.kills / len(KINDS):
                path, backup = (os.path.join(folder, f"{kind}_{runs}{end}") for end in (".json", ""))
                killed = True
                while killed:
                    last_one = kills >= args.kills / len(KINDS)
                    killed, _ = run(kind, backup, path, args, None if last_one else rng, seconds)
                    kills += killed
                runs += 1
                with open(expected) as one, open(path) as other:
                    differences += json.load(one) != json.load(other)
            rows.append({"trained": kind, "kills": kills, "runs": runs, "differences": differences})
            print(rows[-1], flush=True)
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json("kills", rows, vars(args), **kwargs)
    print_table(rows, list(rows[0]))
    if any(row["differences"] for row in rows):
        raise SystemExit("Runs that were killed differ from one that was left alone.")
    return rows


if __name__ == "__main__":
    main()
