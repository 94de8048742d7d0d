"""The figures of the course, of what `runs.py` measured: `python docs/course/figures.py` draws them."""

import hashlib
import json
import math
import os
import pathlib
import sys

import matplotlib
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
RUNS = HERE / "runs.py"
INK, BLUE, ORANGE, GREEN, GREY = "#1d2333", "#3559c7", "#d9662b", "#1f8a57", "#a9afbf"
STYLE = {
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "svg.hashsalt": "keras_dmmd",
}


def measured():
    """What the runs found, or `None` where it is of another version of their script."""
    digest = hashlib.sha256(RUNS.read_bytes()).hexdigest()[:16]
    files = {part: HERE / f"{part}.json" for part in ("coins", "permutations")}
    if not all(file.exists() for file in files.values()):
        return None
    found = {part: json.loads(file.read_text()) for part, file in files.items()}
    return found if all(run["digest"] == digest for run in found.values()) else None


def noise(found, axis):
    """How pairs of coins turn into masks: `corrupt`, counted, beside the formula."""
    import keras

    import keras_dmmd as kd

    process, pairs = kd.MaskedDiffusion(2), np.repeat([[0, 0], [1, 1]], 2000, axis=0).astype("int32")
    times = np.linspace(0, 1, 11)
    counts = []
    for i, time in enumerate(times):
        t = np.full(len(pairs), time, "float32")
        z_t = keras.ops.convert_to_numpy(process.corrupt(pairs, t, kd.random.as_key(i)))
        counts.append(np.bincount((z_t == process.mask_id).sum(1), minlength=3) / len(pairs))
    t = np.linspace(0, 1, 101)
    formulas = ((1 - t) ** 2, 2 * t * (1 - t), t**2)
    for number, (formula, color) in enumerate(zip(formulas, (BLUE, GREY, ORANGE), strict=True)):
        label = ("both coins seen", "one masked", "both masked")[number]
        axis.plot(t, formula, color=color, label=label)
        axis.plot(times, [count[number] for count in counts], "o", color=color, markersize=5)
    axis.set(
        xlabel="time t",
        ylabel="share of pairs",
        title="Lines: the formula. Dots: 4,000 corrupted pairs",
    )
    axis.legend(loc="upper center")


def teacher_loss(found, axis):
    loss = np.array(found["coins"]["loss"])
    axis.plot(
        np.arange(1, len(loss) + 1) * 20, loss, color=BLUE, label="training loss, mean of 20 updates"
    )
    axis.axhline(
        math.log(2) / 2, color=INK, linestyle=":", label="entropy of the data: ln 2 / 2 per coin"
    )
    axis.set(
        xlabel="updates", ylabel="nats per token", ylim=(0.2, 0.8), title="The loss ends at the entropy"
    )
    axis.legend()


def bars(axis, rows, colors):
    names = ["heads, heads", "heads, tails", "tails, heads", "tails, tails"]
    width = 0.8 / len(rows)
    for i, ((label, shares), color) in enumerate(zip(rows.items(), colors, strict=True)):
        axis.bar(
            np.arange(4) + (i - (len(rows) - 1) / 2) * width, shares, width, color=color, label=label
        )
    axis.set_xticks(range(4), names)
    axis.set(ylabel="share of pairs", ylim=(0, 0.75))
    axis.legend(loc="upper center")


def factorised(found, axis):
    outcomes = found["coins"]["outcomes"]
    bars(axis, {"data": [0.5, 0, 0, 0.5], "teacher, one call": outcomes["teacher"]}, (GREY, BLUE))
    axis.set_title("In one call the teacher draws each coin on its own")


def teacher_calls(found, axis):
    points = {int(k): share for k, share in found["coins"]["disagree"].items()}
    calls = np.linspace(1, 16, 200)
    axis.plot(
        calls, 1 / (2 * calls), color=GREY, label="1 / 2k: both opened in the same call, by chance"
    )
    axis.plot(points.keys(), points.values(), "o", color=BLUE, label="teacher, 4,000 pairs")
    axis.set(xlabel="network calls k", ylabel="share of pairs that differ", ylim=(0, 0.55))
    axis.set_title("More calls, fewer mistakes")
    axis.legend()


def student_outcomes(found, axis):
    outcomes = found["coins"]["outcomes"]
    rows = {
        "teacher, one call": outcomes["teacher"],
        "student without noise": outcomes["no noise"],
        "student with noise": outcomes["noise"],
    }
    bars(axis, rows, (BLUE, ORANGE, GREEN))
    axis.set_title("One call each: what a student without noise cannot do")


def curve(axis, run, name, color, label):
    values = run[name]
    axis.plot(np.arange(1, len(values) + 1) * run["rounds"], values, color=color, label=label)


def student_rounds(found, axis):
    students = found["coins"]["students"]
    curve(axis, students["no noise"], "score", ORANGE, "student without noise")
    curve(axis, students["noise"], "score", GREEN, "student with noise")
    axis.axhline(found["coins"]["disagree"]["1"], color=BLUE, linestyle=":", label="teacher, one call")
    axis.set(
        xlabel="rounds", ylabel="share of pairs that differ", ylim=(0, 0.55), title="Learning to agree"
    )
    axis.legend()


def permutation_calls(found, axis):
    valid = found["permutations"]["valid"]
    for name, label, color in (
        ("teacher", "teacher", INK),
        ("random tokens", "student for one call", GREEN),
    ):
        points = {int(k): share for k, share in valid[name].items()}
        axis.plot(points.keys(), points.values(), "o-", color=color, label=label)
    axis.axhline(math.factorial(5) / 5**5, color=GREY, linestyle=":", label="5!/5⁵: five dice")
    axis.set(xlabel="network calls", ylabel="share of valid permutations", ylim=(0, 1))
    axis.set_title("Five symbols, each exactly once")
    axis.legend(loc="lower right")


def permutation_rounds(found, axis):
    students = found["permutations"]["students"]
    curve(
        axis, students["random tokens"], "score", GREEN, "random tokens that act from the first round"
    )
    curve(
        axis,
        students["a projection of zeros"],
        "score",
        ORANGE,
        "Gaussian noise, a projection of zeros",
    )
    curve(axis, students["a temperature"], "score", BLUE, "random tokens, a temperature of 2")
    axis.set(xlabel="rounds", ylabel="share of valid permutations, one call", ylim=(0, 1))
    axis.set_title("Noise has to break the symmetry")
    axis.legend(loc="upper left")


def logs(axes, runs, names, legend):
    """What `fit` logged of several runs, a panel for each name; a legend in the second."""
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        for label, (run, color) in runs.items():
            curve(axis, run, name, color, label)
        axis.set(title=title, xlabel="rounds")
    axes[1].legend(loc=legend)


def collapse(found, axes):
    students = found["coins"]["students"]
    names = {
        "score": "share of pairs that differ",
        "student_entropy": "student_entropy, nats",
        "log_ratio_mean": "log_ratio_mean, nats",
        "critic_loss": "critic_loss, nats per token",
    }
    runs = {"with noise": (students["noise"], GREEN), "without noise": (students["no noise"], ORANGE)}
    logs(axes, runs, names, "upper right")


def stuck(found, axes):
    students = found["permutations"]["students"]
    names = {
        "score": "share of valid permutations",
        "student_entropy": "student_entropy, nats",
        "log_ratio_mean": "log_ratio_mean, nats",
        "log_ratio_std": "log_ratio_std, nats",
    }
    runs = {
        "random tokens": (students["random tokens"], GREEN),
        "a projection of zeros": (students["a projection of zeros"], ORANGE),
        "random tokens, no bounds": (students["without bounds"], GREY),
    }
    logs(axes, runs, names, "center right")


FIGURES = {
    "noise": noise,
    "teacher_loss": teacher_loss,
    "factorised": factorised,
    "teacher_calls": teacher_calls,
    "student_outcomes": student_outcomes,
    "student_rounds": student_rounds,
    "permutation_calls": permutation_calls,
    "permutation_rounds": permutation_rounds,
}
PANELS = {"collapse": collapse, "stuck": stuck}  # of four panels each


def draw(found, folder):
    """Draw every figure into a folder, as SVG."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    os.makedirs(folder, exist_ok=True)
    with pyplot.rc_context(STYLE):
        for name, function in FIGURES.items():
            figure, axis = pyplot.subplots(figsize=(6.4, 3.4), layout="constrained")
            function(found, axis)
            figure.savefig(pathlib.Path(folder, f"{name}.svg"), metadata={"Date": None})
            pyplot.close(figure)
        for name, function in PANELS.items():
            figure, axes = pyplot.subplots(2, 2, figsize=(8, 5), layout="constrained", sharex=True)
            function(found, axes.flat)
            figure.savefig(pathlib.Path(folder, f"{name}.svg"), metadata={"Date": None})
            pyplot.close(figure)


if __name__ == "__main__":
    runs = measured()
    if runs is None:
        sys.exit("The runs are of another version of runs.py: python docs/course/runs.py")
    draw(runs, HERE)
