"""What every benchmark shares: facts of the machine, paired timings, tables, JSON."""

import json
import os
import resource
import statistics
import sys
import time

import keras

from keras_dmmd import backend, files
from keras_dmmd.evaluation.machine import machine

PLACES = ("folder", "results", "path")  # of one machine, which repeat nothing
RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results")


def seconds(functions):
    """Wall time of calling each function once, waiting for its result before the next."""
    times = []
    for function in functions:
        start = time.perf_counter()
        backend.synchronize(function())
        times.append(time.perf_counter() - start)
    return times


def compare(ours, other, repeats=15, warmup=2):
    """Time `ours` and `other` in turns, A B A B ...; both are functions, or lists whose times add up.

    Returns a dict: the median, least and greatest of the pairwise ratios, and the median milliseconds
    of both sides (of each part of `other`, if a list).
    """
    ours, other = _functions(ours), _functions(other)
    for _ in range(warmup):
        seconds(ours), seconds(other)
    a, b = [], []
    for _ in range(repeats):
        a.append(seconds(ours))
        b.append(seconds(other))
    ratios = [sum(x) / sum(y) for x, y in zip(a, b, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ours_ms": 1e3 * statistics.median(map(sum, a)),
        "other_ms": 1e3 * statistics.median(map(sum, b)),
        "other_parts_ms": [1e3 * statistics.median(part) for part in zip(*b, strict=True)],
        "repeats": repeats,
    }


def _functions(value):
    return [value] if callable(value) else list(value)


def peak_bytes():
    """The most memory that this process has had resident."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_or_make(path, make):
    """What a JSON file holds; where it is not there `make()` is written to it, in one move."""
    if not os.path.exists(path):
        files.write_json(path, make())
    return files.read_json(path)


def print_table(rows, columns):
    """Print dicts as a table; a float with four significant digits."""
    cells = [list(columns)] + [[_cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(flush=True)


def _cell(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_results(name, settings, folder=RESULTS):
    """The results of a run that was interrupted, if its settings were the same; else an empty list."""
    path = os.path.join(folder, f"{name}_{keras.backend.backend()}.json")
    if not os.path.exists(path):
        return []
    with open(path) as file:
        content = json.load(file)
    settings = {k: v for k, v in settings.items() if k not in PLACES}
    return content["results"] if content["settings"] == settings else []


def write_json(name, results, settings, folder=RESULTS):
    """Write `<folder>/<name>_<backend>.json`, in one move; returns its path."""
    os.makedirs(folder, exist_ok=True)
    settings = {k: v for k, v in settings.items() if k not in PLACES}
    path = os.path.join(folder, f"{name}_{keras.backend.backend()}.json")
    content = {"benchmark": name, "machine": machine(), "settings": settings, "results": results}
    with open(path + ".partial", "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    os.replace(path + ".partial", path)
    print(f"wrote {os.path.relpath(path)}")
    return path
