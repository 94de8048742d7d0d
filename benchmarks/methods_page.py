"""The table and the picture of `benchmarks/methods.py`, from its result files."""

import glob
import json
import os

from matplotlib import pyplot as plt

from benchmarks.curves import axis_of_calls, curve
from benchmarks.pages import marks, write_between
from keras_dmmd.metrics.statistics import with_error

NAME = "figures: benchmarks/methods.py"
BEGIN, END = marks(NAME)
# By set: what it is, its judge, and what that is.
SETS = {
    "coins": ("two coins", "total_variation", "total variation"),
    "modes": ("eight random modes", "total_variation", "total variation"),
    "copies": ("copies", "total_variation", "total variation"),
    "permutations": ("permutations of 5", "total_variation", "total variation"),
    "latin_4": ("Latin squares of 4", "possible", "valid"),
    "digits": ("digits", "frechet_distance", "Fréchet distance"),
}


def read(folder):
    """The rows of each set that was measured, in the order of `SETS`."""
    found = {}
    for name in SETS:
        for path in sorted(glob.glob(os.path.join(folder, f"methods_{name}_*.json"))):
            with open(path) as file:
                found[name] = json.load(file)["results"]
    return found


def table(sets):
    """Lines of Markdown: a row for each method, a column for each set and number of calls."""
    columns = [
        (name, calls) for name, rows in sets.items() for calls in sorted({r["calls"] for r in rows})
    ]
    heads = [f"{SETS[name][0]}: {SETS[name][2]}, calls: {calls}" for name, calls in columns]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    methods = list(dict.fromkeys(row["method"] for rows in sets.values() for row in rows))
    for method in methods:
        cells = []
        for name, calls in columns:
            judge = SETS[name][1]
            own = [r for r in sets[name] if r["method"] == method and r["calls"] == calls]
            cells += [with_error(own[0][judge], own[0][f"{judge}_error"]) if own else ""]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def draw(sets, path):
    """A panel for each set: a curve for each method, or a bar where there is one number of calls."""
    size = (4 * len(sets) + 2.2, 3.6)
    figure, axes = plt.subplots(1, len(sets), figsize=size, squeeze=False, layout="constrained")
    every = list(dict.fromkeys(row["method"] for rows in sets.values() for row in rows))
    for axis, (name, rows) in zip(axes[0], sets.items(), strict=True):
        title, judge, label = SETS[name]
        calls = sorted({row["calls"] for row in rows})
        if len(calls) == 1:
            bars(axis, rows, judge, every)
        else:
            curves(axis, rows, judge, every)
            axis_of_calls(axis, calls)
        axis.set_ylim(bottom=0)
        axis.set(title=title, ylabel=label)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def bars(axis, rows, judge, every):
    """One for each method, of rows of one number of calls."""
    for place, row in enumerate(rows):
        is_teacher = row["method"] == "teacher"
        fill = {"fill": False, "linestyle": "--"} if is_teacher else {}
        color = color_of(row["method"], every)
        axis.bar(place, row[judge], yerr=row[f"{judge}_error"], color=color, **fill)
    axis.set_xticks([])
    axis.set_xlabel(f"{rows[0]['calls']} network calls")


def curves(axis, rows, judge, every):
    for method in dict.fromkeys(row["method"] for row in rows):
        curve(
            axis,
            [row for row in rows if row["method"] == method],
            judge,
            linewidth=3 if is_default(method) else 1.2,
            color=color_of(method, every),
            linestyle="--" if method == "teacher" else "-",
            label=method,
        )


def is_default(method):
    return method.startswith("D-MMD, default")


def color_of(method, every):
    """The same in all panels."""
    return "black" if method == "teacher" or is_default(method) else f"C{every.index(method) % 10}"


def show(folder, page=None, picture=None):
    """Put the table into a page, and draw the picture; the table's lines."""
    sets = read(folder)
    lines = table(sets)
    if page:
        write_between(NAME, "\n".join(["", *lines, ""]), page)
    if picture:
        draw(sets, picture)
    return lines
