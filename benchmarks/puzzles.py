"""Students of puzzles, whose answers a rule checks exactly, beside their teachers and beside truth.

    python -m benchmarks.puzzles --tasks permutations latin_4 --calls 1 4 --folder runs/puzzles

For each task and training seed a teacher learns, and students for each number of calls are distilled
from it (`--ranges 1-8` makes one for all), and sampled with each. Share of valid samples; total
variation to the truth where samples can fill its table; and what a factorised call, and an exact
teacher, come to. What is done lies in the folder: the same command goes on where it stopped.
"""

import argparse
import json
import os

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.calls import number_or_range
from benchmarks.common import print_table, read_or_make, write_json
from benchmarks.puzzle_tasks import TASKS, factorised
from keras_dmmd.metrics.statistics import mean_and_error
from tests.oracles.exact_denoiser import ExactDenoiser

SIZE = {"hidden_dim": 64, "num_layers": 3, "num_heads": 4, "cond_dim": 32}
PROCESSES = {"masked": kd.MaskedDiffusion, "uniform": kd.UniformDiffusion}
EXACT = 1000  # the most rows of which an exact teacher is made
BATCH = 128


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["permutations", "latin_4"])
    parser.add_argument("--process", choices=PROCESSES, default="masked")
    parser.add_argument("--calls", nargs="+", type=int, default=[1, 2, 4], help="students for, each")
    parser.add_argument("--ranges", nargs="*", type=number_or_range, default=[], help="such as 1-8")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=1500, help="of the teacher")
    parser.add_argument("--rounds", type=int, default=2500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--sampler", default="ancestral", help="of teachers")
    parser.add_argument("--options", type=json.loads, default={}, help="JSON, for DMMDDistiller")
    parser.add_argument("--name", default="default", help="of these options, in folder and result")
    parser.add_argument("--folder", default=os.path.join("runs", "puzzles"))
    parser.add_argument("--path", default=None, help="folder of the result file")
    return parser.parse_args(argv)


def data(task, number, seed, prompts):
    """What `fit` takes: rows, beside which of their tokens are given."""
    rows, given = task.rows(number, np.random.default_rng(seed))
    return rows if not prompts else {"tokens": rows, "known": given}


def has_prompts(task):
    return task.rows(1, np.random.default_rng(0))[1] is not None


def teacher_of(task, args, seed):
    """A teacher of a task, from the folder if it is there."""
    keras.utils.set_random_seed(seed)
    process, prompts = PROCESSES[args.process](task.vocabulary_size), has_prompts(task)
    place = {"grid": task.grid} if task.grid else {"position": "learned", "length": task.length}
    denoiser = kd.Denoiser(task.vocabulary_size, process.num_states, prompts=prompts, **place, **SIZE)
    model = kd.DiffusionModel(denoiser, process, length=task.length, seed=seed)
    model.build()
    train(model, data(task, BATCH * args.updates, seed, prompts), args, args.updates)
    return model


def train(model, rows, args, updates):
    rate = keras.optimizers.schedules.CosineDecay(3 * args.learning_rate, updates, alpha=0.05)
    model.compile(keras.optimizers.AdamW(rate, use_ema=True, ema_momentum=0.99, global_clipnorm=1.0))
    model.fit(rows, batch_size=BATCH, verbose=0)


def kept(make, path):
    """A model that a file holds, and that is made where it does not."""
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        make().save(path)
    return keras.saving.load_model(path)


def student_of(teacher, task, calls, args, seed):
    keras.utils.set_random_seed(seed)
    distiller = kd.DMMDDistiller(teacher, steps=calls, seed=seed, **args.options)
    distiller.compile(**kd.annealed_optimizers(args.rounds, args.learning_rate))
    rows = data(task, BATCH * args.rounds, seed + 1000, has_prompts(task))
    distiller.fit(rows, batch_size=BATCH, verbose=0)
    return distiller.student


def measure(model, task, calls, args, seed, sampler=None):
    """How many samples are valid and different, and their total variation where that can be told."""
    rows, given = task.rows(args.samples, np.random.default_rng(seed + 2000))
    told = {} if given is None else {"prompts": rows, "known": given}
    drawn = model.generate(args.samples, steps=calls, seed=seed, sampler=sampler, verbose=0, **told)
    valid = task.is_valid(drawn)
    found = {"valid": float(valid.mean()), "unique": len(np.unique(drawn, axis=0)) / len(drawn)}
    if task.support is not None and 10 * len(task.support) <= args.samples:
        found["tv"] = float(kd.metrics.total_variation(drawn, task.support, task.probabilities))
    return found


def exact(task, process):
    """The teacher that knows the truth, or `None` where it is too large."""
    if task.support is None or len(task.support) > EXACT:
        return None
    denoiser = ExactDenoiser(task.support, task.probabilities, process)
    return kd.DiffusionModel(denoiser, process, length=task.length)


def run(name, args, seed):
    """Every figure of a task and a seed, by model and number of calls."""
    task, place = TASKS[name](), os.path.join(args.folder, f"{name}_{args.process}_seed_{seed}")
    teacher = kept(lambda: teacher_of(task, args, seed), os.path.join(place, "teacher.keras"))
    found = {}

    def add(title, model, calls, sampler=None):
        found[f"{title}|{calls}"] = measure(model, task, calls, args, seed, sampler)
        print(name, seed, title, calls, found[f"{title}|{calls}"], flush=True)

    truth = exact(task, PROCESSES[args.process](task.vocabulary_size))
    for calls in args.calls:
        add("teacher", teacher, calls, args.sampler)
        if truth is not None:
            add("exact teacher", truth, calls)
    for trained in [*args.calls, *args.ranges]:
        label = trained if isinstance(trained, int) else "-".join(map(str, trained))
        path = os.path.join(place, f"{args.name}_{label}.keras")
        student = kept(lambda own=trained: student_of(teacher, task, own, args, seed), path)
        for calls in args.calls:
            add(f"student for {label}", student, calls)
    return found


def summary(name, by_seed, task):
    """A line for each model and number of calls: means over seeds and their errors."""
    for key in by_seed[0]:
        title, calls = key.split("|")
        line = {"task": name, "model": title, "calls": int(calls)}
        line["one factorised call"] = factorised(task, int(calls))
        for what in by_seed[0][key]:
            line[what], line[f"{what}_error"] = mean_and_error(
                np.array([s[key][what] for s in by_seed])
            )
        yield line


def main(argv=None):
    args = parse(argv)
    os.makedirs(args.folder, exist_ok=True)
    lines = []
    for name in args.tasks:
        file = os.path.join(args.folder, f"{name}_{args.process}_{args.name}_seed_{{}}.json")
        by_seed = [
            read_or_make(file.format(seed), lambda own=seed, name=name: run(name, args, own))
            for seed in range(args.seeds)
        ]
        lines += summary(name, by_seed, TASKS[name]())
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json(f"puzzles_{args.process}_{args.name}", lines, vars(args), **kwargs)
    print_table(lines, ["task", "model", "calls", "valid", "valid_error", "tv", "tv_error", "unique"])
    return lines


if __name__ == "__main__":
    main()
