"""All benchmarks of speed and memory, one after the other, and docs/performance.md with their figures.

    python -m benchmarks.run_all                       # JAX, TensorFlow and Torch, as installed
    python -m benchmarks.run_all --backends jax --only speed
    python -m benchmarks.run_all --backends            # run nothing, print what was measured

Each runs in a process of its own and writes `benchmarks/results/<name>_<backend>.json`. Then the table
is printed, and put between the marks in docs/performance.md.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable

from benchmarks.pages import marks, write_between

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "benchmarks", "results")
PAGE = os.path.join(ROOT, "docs", "performance.md")
BACKENDS = ("jax", "tensorflow", "torch")
NAME = "figures: benchmarks/run_all.py"
BEGIN, END = marks(NAME)
REMAT = ["--plans", "1024", "--length", "0", "--variants", "tiles, remat"]
# Name of the result, its module, what it is told, and the backends that it is for.
RUNS = [
    ("speed", "benchmarks.speed", ["--batch-size", "64", "--repeats", "11"], BACKENDS),
    (
        "vocabulary_256",
        "benchmarks.vocabulary",
        ["--words", "256", "--length", "256", "--no-training", "--tiles", "auto"],
        BACKENDS,
    ),
    ("vocabulary", "benchmarks.vocabulary", ["--plans", "1024"], ("jax",)),  # docs/vocabularies.md
    (
        "vocabulary",
        "benchmarks.vocabulary",
        ["--no-training", "--tiles", "auto", "--repeats", "3"],
        ("tensorflow", "torch"),
    ),
    (
        "vocabulary_remat",
        "benchmarks.vocabulary",
        ["--plans", "1024", "--variants", "tiles, remat", "--tiles", "--repeats", "3"],
        ("jax",),
    ),
    (
        "vocabulary_1024",
        "benchmarks.vocabulary",
        ["--length", "1024", "--rows", "1", "--no-training", "--tiles", "auto", "--repeats", "3"],
        BACKENDS,
    ),
    ("vocabulary_rows_4", "benchmarks.vocabulary", ["--rows", "4", *REMAT], ("jax",)),
    ("vocabulary_262144", "benchmarks.vocabulary", ["--words", "262144", *REMAT], ("jax",)),
    ("mdlm_rows_1", "benchmarks.vocabulary", ["--network", "mdlm", "--rows", "1", *REMAT], ("jax",)),
    ("mdlm_rows_4", "benchmarks.vocabulary", ["--network", "mdlm", "--rows", "4", *REMAT], ("jax",)),
    ("minilm", "benchmarks.minilm", [], ("jax",)),
    ("large", "benchmarks.large", [], ("jax",)),
    ("rows", "benchmarks.rows", [], BACKENDS),
    ("others", "benchmarks.others", [], ("torch",)),
]
# What a benchmark asks for beyond the library, which is left out without it.
NEEDS = {"others": ("flow_matching", "diffusers")}
NAMED = "benchmarks.vocabulary"  # the module that writes results of several names


@dataclasses.dataclass(frozen=True)
class Figure:
    """A line of the table.

    Attributes:
        what: it is.
        goal: that it should meet.
        name: of the result files.
        read: a function from their results to a row with a ratio, or to a number.
        unit: of a number.
    """

    what: str
    goal: str
    name: str
    read: Callable
    unit: str = ""


def one(rows, **wanted):
    """The row in which these entries are such, or `None`."""
    found = [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]
    return found[0] if found else None


def starts(rows, what):
    return next((row for row in rows if row["what"].startswith(what)), None)


def planned(update):
    def read(results):
        row = one(results["plans"], update=update, variant="tiles, remat")
        return row and row["tables"]

    return read


def planned_gib(update):
    def read(results):
        row = one(results["plans"], update=update, variant="tiles, remat")
        return row and row["MiB"] / 1024

    return read


def trained(update):
    return lambda results: one(results["training"], update=update, variant="tiles, remat")


def sampled(results):
    return one(results["generation"], tiles="auto")


def other(library):
    return lambda results: one(results, library=library, words=50_257)


def versions(results):
    row = results[0]
    return row | {"ratio_min": row["least"], "ratio_max": row["greatest"]}


BIG = "50,257 words, 1,024 tokens"
MDLM = "170 million weights, 50,257 words, 1,024 tokens, one row"
FIGURES = [
    Figure(
        "`generate`, 17 levels, 64 tokens, 8 calls, over bare compiled passes",
        "≤ 1.05",
        "speed",
        lambda r: starts(r, "generate, 8"),
    ),
    Figure(
        "`generate`, 17 levels, 64 tokens, 32 calls, over bare passes",
        "≤ 1.05",
        "speed",
        lambda r: starts(r, "generate, 32"),
    ),
    Figure(
        "`generate`, 256 words, 256 tokens, 8 calls, over bare passes",
        "≤ 1.05",
        "vocabulary_256",
        sampled,
    ),
    Figure(
        "`generate`, 50,257 words, 128 tokens, 8 calls, over bare passes",
        "≤ 1.0; ≤ 1.1",
        "vocabulary",
        sampled,
    ),
    Figure(f"`generate`, {BIG}, 1 row, over bare passes", "≤ 1.0; ≤ 1.1", "vocabulary_1024", sampled),
    Figure(
        "flow_matching's sampler over ours, 50,257 words",
        "≥ 4",
        "others",
        other("flow_matching"),
    ),
    Figure(
        "diffusers' sampler by confidence over ours, 50,257 words",
        "≥ 4",
        "others",
        other("diffusers"),
    ),
    Figure(
        f"temporaries of a teacher's update, {BIG}, 8 rows",
        "≤ 1.75",
        "vocabulary_remat",
        planned("teacher"),
        "tables",
    ),
    Figure(
        f"temporaries of a round of D-MMD, {BIG}, 8 rows",
        "≤ 1.75",
        "vocabulary_remat",
        planned("D-MMD"),
        "tables",
    ),
    Figure(
        f"temporaries of a round of D-MMD, {BIG}, 4 rows",
        "≤ 1.75",
        "vocabulary_rows_4",
        planned("D-MMD"),
        "tables",
    ),
    Figure(
        "temporaries of a round of D-MMD, 262,144 words, 1,024 tokens, 8 rows",
        "≤ 1.75",
        "vocabulary_262144",
        planned("D-MMD"),
        "tables",
    ),
    Figure(
        "a teacher's update so, 50,257 words, 128 tokens: time over whole tables",
        "≤ 1.15",
        "vocabulary_remat",
        trained("teacher"),
    ),
    Figure(
        "a round of D-MMD so, 50,257 words, 128 tokens: time over whole tables",
        "≤ 1.15",
        "vocabulary_remat",
        trained("D-MMD"),
    ),
    Figure(
        "a round of D-MMD, digits' size, over the sum of its parts",
        "≤ 1.05",
        "speed",
        lambda r: starts(r, "D-MMD step / its parts"),
    ),
    Figure(
        "a round of D-MMD, digits' size, over hand-written JAX",
        "≤ 1.0",
        "speed",
        lambda r: starts(r, "D-MMD step / by hand"),
    ),
    Figure(
        "a round of MiniLM in tiles over whole tables",
        "≤ 0.25",
        "minilm",
        lambda r: one(r, round="tiles"),
    ),
    Figure(
        "a round of MiniLM in tiles, both updates at once, over whole tables",
        "≤ 0.25",
        "minilm",
        lambda r: one(r, round="tiles, simultaneous"),
    ),
    Figure(
        "what a round of MiniLM in tiles has of matrix products, alone, over whole tables",
        "",
        "minilm",
        lambda r: one(r, round="the products of a round in tiles, alone"),
    ),
    Figure(
        "a round of MiniLM over that before tiles, at commit `c2ac4e5`, one thread",
        "≤ 0.25",
        "versions_minilm",
        versions,
    ),
    Figure(
        f"{MDLM}: peak of an update of a teacher",
        "≤ 16 GB",
        "large",
        lambda r: one(r, job="train")["peak GiB"],
        "GiB",
    ),
    Figure(
        f"{MDLM}: peak of a round of D-MMD",
        "≤ 16 GB",
        "large",
        lambda r: one(r, job="distil")["peak GiB"],
        "GiB",
    ),
    Figure(
        f"{MDLM}: peak of a sample in 8 calls",
        "≤ 16 GB",
        "large",
        lambda r: one(r, job="sample")["peak GiB"],
        "GiB",
    ),
    Figure(
        f"{MDLM}: temporaries of a round of D-MMD",
        "",
        "mdlm_rows_1",
        planned_gib("D-MMD"),
        "GiB",
    ),
    Figure(
        f"{MDLM.replace('one row', 'four rows')}: temporaries of a round of D-MMD",
        "",
        "mdlm_rows_4",
        planned_gib("D-MMD"),
        "GiB",
    ),
    Figure(
        "`generate(n=1000)`, 50,257 words: peak memory beyond that of `n=250`",
        "0.4 (the result)",
        "rows",
        lambda r: max(0.0, one(r, samples=1000)["peak MiB"] - one(r, samples=250)["peak MiB"]),
        "MiB",
    ),
]


def cell(figure, backend, folder):
    """A figure on a backend, in words; empty where it was not measured."""
    path = os.path.join(folder, f"{figure.name}_{backend}.json")
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        found = figure.read(json.load(file)["results"])
    if found is None:
        return ""
    if isinstance(found, dict):
        return f"{found['ratio']:.2f} ({found['ratio_min']:.2f}, {found['ratio_max']:.2f})"
    return f"{found:.2f} {figure.unit}"


def table(folder=RESULTS):
    """The lines of the table, in Markdown."""
    lines = ["| figure | goal | JAX | TensorFlow | Torch |", "|---|---|---|---|---|"]
    for figure in FIGURES:
        cells = [cell(figure, backend, folder) for backend in BACKENDS]
        if any(cells):
            lines.append("| " + " | ".join([figure.what, figure.goal, *cells]) + " |")
    return lines


def update(page, lines):
    """Put the table between the marks of a page, and print it."""
    write_between(NAME, "\n".join(["", *lines, ""]), page)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="*", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--only", nargs="+", default=None, help="names of results")
    parser.add_argument("--page", default=PAGE)
    args = parser.parse_args(argv)
    failed = []
    for name, module, told, backends in RUNS:
        for backend in args.backends:
            if backend not in backends or (args.only and name not in args.only):
                continue
            missing = [p for p in NEEDS.get(name, ()) if importlib.util.find_spec(p) is None]
            if missing:
                print(f"== {name} is left out: pip install {' '.join(missing)}")
                continue
            own = ["--name", name] if module == NAMED else []
            print(f"== {name} on {backend}", flush=True)
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
            command = [sys.executable, "-m", module, *told, *own]
            if subprocess.run(command, env=environment, cwd=ROOT).returncode:
                failed.append(f"{name} on {backend}")
    update(args.page, table())
    if failed:
        raise SystemExit(f"These benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
