"""The tables and the picture of `benchmarks/methods.py`, from its result files."""

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


def tables(sets):
    """Lines of Markdown: a table for each set, with a row for each method, a column for each number of
    calls; the methods that were measured there."""
    lines = []
    for name, rows in sets.items():
        title, judge, label = SETS[name]
        found = {(row["method"], row["calls"]): row for row in rows}
        calls = sorted({row["calls"] for row in rows})
        lines += ["", f"| {title}: {label}, network calls: | {' | '.join(map(str, calls))} |"]
        lines += ["|---" * (len(calls) + 1) + "|"]
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [found.get((method, number)) for number in calls]
            cells = [with_error(row[judge], row[f"{judge}_error"]) if row else "" for row in own]
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
    """Put the tables into a page, and draw the picture; the tables' lines."""
    sets = read(folder)
    lines = tables(sets)
    if page:
        write_between(NAME, "\n".join([*lines, ""]), page)
    if picture:
        draw(sets, picture)
    return lines
