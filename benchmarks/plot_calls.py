"""The picture of `benchmarks/calls.py`: teacher and one student by network calls, a panel for each set.

    python -m benchmarks.plot_calls --out docs/calls.png

Reads `benchmarks/results/calls_SET_jax.json`.
"""

import argparse
import json
import os

from matplotlib import pyplot as plt

from benchmarks.common import RESULTS
from benchmarks.curves import axis_of_calls, curve

# By set: title, metric, what it is, whether on a logarithmic scale.
PANELS = {
    "digits": ("digits, masked", "frechet_distance", "Fréchet distance, lower is better", True),
    "digits_uniform": ("digits, uniform", "frechet_distance", "Fréchet distance", True),
    "sotu": ("speeches", "bits_per_character", "bits per character, lower is better", False),
    "proteins": ("proteins", "bits_per_character", "bits per letter", False),
    "moses": ("molecules", "validity", "valid, higher is better", False),
}
NAMES = {"teacher": "teacher", "student for 1 to 64": "one student for all numbers of calls"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", default=RESULTS, help="folder of the result files")
    parser.add_argument("--out", default="docs/calls.png")
    args = parser.parse_args(argv)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(3.1 * len(PANELS), 3.0))
    for axis, (name, (title, metric, label, is_log)) in zip(axes, PANELS.items(), strict=True):
        with open(os.path.join(args.results, f"calls_{name}_jax.json")) as file:
            rows = json.load(file)["results"]
        for model, shown in NAMES.items():
            own = [row for row in rows if row["model"] == model]
            curve(axis, own, metric, label=shown)
        axis_of_calls(axis, [1, 2, 4, 8, 16, 32, 64])
        if is_log:
            axis.set_yscale("log")
            axis.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
            axis.minorticks_off()
        axis.set_title(title)
        axis.set_ylabel(label)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(args.out, dpi=80)
    plt.close(figure)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
