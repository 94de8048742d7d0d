"""Every method, one protocol: the same teacher, start, optimizer, rounds and judges.

    python -m benchmarks.methods --sets coins permutations modes copies --calls 1 2 4 --seeds 3
    python -m benchmarks.methods --sets digits --rounds 3000 --calls 1 2 4 8
    python -m benchmarks.methods --sets permutations --variant bound_10 '{"max_log_ratio": 10}' …
    python -m benchmarks.methods --page docs/methods.md --picture docs/methods.png  # train nothing

For each set, number of calls, method and training seed one student is trained, by
`annealed_optimizers`, and sampled with that number of calls. Of a set that can be enumerated the judge
is the total variation to its law, and the share of samples that are possible; of digits it is the
Fréchet distance. What is done lies in the folder, a file for each student's figures: the same command
goes on where it stopped, one seed of all first, then the next. Each set has a result file of its own.
"""

import argparse
import functools
import itertools
import json
import os

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import methods_page
from benchmarks.common import RESULTS, print_table, read_or_make, write_json
from benchmarks.puzzle_tasks import TASKS
from tests.oracles import toy

SIZE = {"hidden_dim": 64, "num_layers": 2, "num_heads": 2, "cond_dim": 16}
STAGES = 4  # of SDTT, which halves its calls so often


def dmmd(options, teacher, steps, rounds, seed):
    return kd.DMMDDistiller(teacher, steps=steps, seed=seed, **options)


def sdtt(teacher, steps, rounds, seed):
    each = max(1, rounds // STAGES)
    return kd.SDTTDistiller(teacher, steps=steps, stages=STAGES, rounds_per_stage=each, seed=seed)


def mpdc(teacher, steps, rounds, seed):
    return kd.MPDCDistiller(teacher, steps=steps, seed=seed)


def dimo(teacher, steps, rounds, seed):
    return kd.DiMODistiller(teacher, steps=steps, seed=seed)


def di4c(teacher, steps, rounds, seed):
    return kd.Di4CDistiller(teacher, steps=steps, teacher_steps=16, seed=seed)


def idlm(teacher, steps, rounds, seed):
    return kd.IDLMDistiller(teacher, steps=steps, seed=seed)


def reinforce(teacher, steps, rounds, seed):
    return kd.ReinforceDistiller(teacher, steps=steps, seed=seed)


METHODS = {
    "D-MMD, default": functools.partial(dmmd, {}),
    "D-MMD, times of the grid": functools.partial(dmmd, {"times": "grid"}),
    "D-MMD, τ = 1": functools.partial(dmmd, {"student_temperature": 1.0}),
    "D-MMD, as published": functools.partial(dmmd, {"recipe": "paper"}),
    "SDTT": sdtt,
    "MPDC": mpdc,
    "Di[M]O": dimo,
    "Di4C": di4c,
    "IDLM": idlm,
    "Reinforce-DMD": reinforce,
}


def _of_task(name):
    task = TASKS[name]()
    return task.support, task.probabilities, task.vocabulary_size


# Sets whose law is known: their rows, the probability of each, and the number of symbols.
LAWS = {
    "coins": lambda: (*toy.equal_coins(), 2),
    "modes": lambda: (*toy.random_modes(0), 3),
    "permutations": lambda: _of_task("permutations"),
    "copies": lambda: _of_task("copies"),
    "latin_4": lambda: _of_task("latin_4"),
}
SETS = (*LAWS, "digits")


class Law:
    """A set that can be enumerated, and its teacher: learned on samples, the same for all students."""

    figures = ("total_variation", "possible")

    def __init__(self, name, args):
        *self.law, size = LAWS[name]()
        self.args, self.path = args, os.path.join(args.folder, name, "teacher")
        self.size = size

    def teacher(self):
        if os.path.exists(os.path.join(self.path, "config.json")):
            return kd.from_preset(self.path)
        keras.utils.set_random_seed(0)
        length, updates = self.law[0].shape[1], self.args.pretrain
        denoiser = kd.Denoiser(self.size, position="learned", length=length, **SIZE)
        model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(self.size), length=length)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, updates, alpha=0.02)
        model.compile(keras.optimizers.Adam(rate))
        model.fit(self.rows(updates, 0), batch_size=self.args.batch_size, verbose=0)
        kd.presets.save_to_preset(model, self.path, dtype="float32")
        return kd.from_preset(self.path)

    def rows(self, updates, seed):
        return toy.samples(*self.law, updates * self.args.batch_size, seed)

    def score(self, model, steps, seed):
        draws = model.generate(self.args.samples, steps=steps, seed=seed, verbose=0)
        known = {tuple(row) for row in self.law[0]}
        return {
            "total_variation": float(kd.metrics.total_variation(draws, *self.law)),
            "possible": float(np.mean([tuple(row) in known for row in draws])),
        }


class Digits:
    """The digits, and the teacher that ships."""

    figures = ("frechet_distance",)

    def __init__(self, name, args):
        del name
        self.args = args
        (self.train, _), (test, _) = kd.datasets.load_digits()
        self.features = kd.ImageFeatures.from_preset("digits_features")
        self.real = self.features.statistics(np.concatenate([self.train, test]))

    def teacher(self):
        return kd.from_preset("digits_masked_teacher")

    def rows(self, updates, seed):
        rng = np.random.default_rng(seed)
        return self.train[rng.integers(0, len(self.train), updates * self.args.batch_size)]

    def score(self, model, steps, seed):
        draws = model.generate(self.args.samples, steps=steps, seed=seed, verbose=0)
        found = self.features.statistics(draws)
        return {"frechet_distance": float(kd.metrics.frechet_distance(found, self.real))}


def set_of(name, args):
    """A set by its name: its teacher, its rows and its judge."""
    return (Law if name in LAWS else Digits)(name, args)


def student_of(method, data, steps, seed, args):
    """One student, trained."""
    keras.utils.set_random_seed(seed)
    distiller = METHODS[method](data.teacher(), steps, args.rounds, seed)
    optimizers = kd.annealed_optimizers(
        args.rounds, args.learning_rate, critic_steps=distiller.updates("critic")
    )
    wanted = {f"{role}_optimizer" for role in distiller.roles}
    distiller.compile(**{k: v for k, v in optimizers.items() if k in wanted})
    rows = data.rows(args.rounds, seed + 1)
    distiller.fit(rows, batch_size=args.batch_size, shuffle=False, verbose=0)
    return distiller.student


def cell(name, data, method, steps, seed, args):
    """The figures of one student, from the folder if they are there."""

    def make():
        model = data.teacher() if method == "teacher" else student_of(method, data, steps, seed, args)
        return {**data.score(model, steps, seed), "rounds": args.rounds}

    place = os.path.join(args.folder, name, f"rounds_{args.rounds}")
    os.makedirs(place, exist_ok=True)
    file = f"{method}_{steps}_calls_seed_{seed}.json".replace(" ", "_").replace(",", "")
    return read_or_make(os.path.join(place, file), make)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["coins"])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument(
        "--variant", nargs=2, metavar=("NAME", "JSON"), help="D-MMD with options, in place of --methods"
    )
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretrain", type=int, default=1000, help="updates of a teacher")
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--folder", default="runs/methods")
    parser.add_argument("--path", default=RESULTS, help="folder of the result files")
    parser.add_argument("--page", help="put the table of the result files between this page's marks")
    parser.add_argument("--picture", help="draw the result files")
    return parser.parse_args(argv)


def fill(args):
    """Train and judge what the folder lacks; every figure by set, calls, method and seed."""
    found = {}
    for seed, name in itertools.product(range(args.seeds), args.sets):
        data = set_of(name, args)
        for steps, method in itertools.product(args.calls, ["teacher", *args.methods]):
            if method == "Di[M]O" and steps > 1:  # of one call by its nature
                continue
            key = name, steps, method
            found.setdefault(key, []).append(cell(name, data, method, steps, seed, args))
            print(*key, seed, found[key][-1], flush=True)
    return found


def summary(found):
    """A row for each set, number of calls and method: means over seeds and their errors."""
    rows = []
    for (name, steps, method), cells in found.items():
        row = {"set": name, "calls": steps, "method": method, "seeds": len(cells)}
        for figure in Law.figures if name in LAWS else Digits.figures:
            values = np.array([each[figure] for each in cells])
            mean, error = kd.metrics.statistics.mean_and_error(values)
            row[figure], row[f"{figure}_error"] = mean, error if len(cells) > 1 else None
        rows.append(row)
    return rows


def main(argv=None):
    args = parse(argv)
    if args.page or args.picture:
        return methods_page.show(args.path, args.page, args.picture)
    if args.variant:
        name, options = args.variant
        args.methods = [f"D-MMD, {name}"]
        METHODS[args.methods[0]] = functools.partial(dmmd, json.loads(options))
    rows = summary(fill(args))
    settings = {k: v for k, v in vars(args).items() if k not in ("page", "picture")}
    for name in args.sets:
        own = [row for row in rows if row["set"] == name]
        # A variant's beside the table's, which `methods_page` reads by their beginning.
        about = f"variant_{args.variant[0]}" if args.variant else "methods"
        write_json(f"{about}_{name}", own, settings | {"sets": [name]}, folder=args.path)
    figures = [
        f for f in ("total_variation", "possible", "frechet_distance") if any(f in r for r in rows)
    ]
    columns = [c for figure in figures for c in (figure, f"{figure}_error")]
    print_table(rows, ["set", "calls", "method", *columns])
    return rows


if __name__ == "__main__":
    main()
