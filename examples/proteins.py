# %% [markdown]
# # T-cell receptors, judged exactly
#
# T cells know what they meet by a short loop of a protein, the CDR3: 8 to 23 letters of an alphabet of
# twenty. How nature makes such loops is known. OLGA ([1804.04101](https://arxiv.org/abs/1804.04101))
# draws them and computes the exact probability of any string, so nothing has to be estimated by another
# network here: a string that no receptor can have has probability 0, and the mean of `-log₂ p` of
# samples, beside that of real loops, says whether a model makes likely ones too often or too seldom.
#
# ![Loops that a receptor can have, and their bits, by network calls](../docs/proteins.png)
#
# **Where it runs.** Two CPU cores are enough, on Colab, Kaggle or at home; the minutes of the
# distillation are printed below. A T4 was not timed. Choose the backend with `KERAS_BACKEND`: `jax`,
# `tensorflow` or `torch`.
#
# **Data.** Nothing is downloaded: OLGA draws the loops. The first cell installs it (`pip install olga`,
# GPL-3), and it is called as a program; without it the example stops with a sentence.

# %%
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_dmmd as kd

ROUNDS = int(os.environ.get("ROUNDS", "300"))  # of critic and student; 0 measures STUDENT as it is
STEPS = os.environ.get("STEPS", "1-20")  # network calls of the student: a number or a range
SAMPLES = int(os.environ.get("SAMPLES", "200"))  # loops per figure: OLGA judges some ten per second
LOOPS = int(os.environ.get("LOOPS", "20000"))  # real ones that OLGA draws
CALLS = [int(k) for k in os.environ.get("CALLS", "1,2,4,8,20").split(",")]  # that are measured
LEARNING_RATE = float(os.environ.get("LEARNING_RATE", "1e-3"))
BATCH_SIZE = int(os.environ.get("BATCH_SIZE", "128"))
TEACHER = os.environ.get("TEACHER", "proteins_teacher")
STUDENT = os.environ.get("STUDENT")  # a student to go on from: a preset or a folder of this script
OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))  # of DMMDDistiller: {"noise": "token", …}
TRAINING_SEED = int(os.environ.get("TRAINING_SEED", "0"))
FOLDER = os.environ.get("FOLDER", "runs/proteins")
MOST_LETTERS = 23  # of rows of 24, the last of which is an end

os.makedirs(FOLDER, exist_ok=True)
keras.utils.set_random_seed(TRAINING_SEED)


def olga(program, *arguments):
    """Run a program of OLGA's on human beta chains; returns the columns of the file that it writes."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(f"olga-{program}", path=places)
    if found is None:
        raise SystemExit("OLGA is not installed: pip install olga")
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.tsv")
        command = [found, "--humanTRB", "-o", out, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(out) as file:
            return list(zip(*(line.rstrip("\n").split("\t") for line in file), strict=True))


def probabilities(loops):
    """OLGA's probability of every loop, `(n,)`; 0 for a string that no receptor can have."""
    letters = set("ACDEFGHIKLMNPQRSTVWY")
    asked = sorted({loop for loop in loops if loop and set(loop) <= letters})
    # OLGA would read A, C, G and T alone as nucleotides, but not within brackets, as a pattern.
    spelled = [f"[{x[0]}]{x[1:]}" if set(x) <= set("ACGT") else x for x in asked]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.write("\n".join(spelled) + "\n")
        file.flush()
        values = olga("compute_pgen", "-i", file.name)[1]
    known = dict(zip(asked, map(float, values), strict=True))
    return np.array([known.get(loop, 0.0) for loop in loops])


# %% [markdown]
# ## Teacher and data
# The teacher ships with the package. Loops are drawn anew here: the second column is the protein.

# %%
teacher = kd.from_preset(TEACHER)
start = time.time()
drawn = olga("generate_sequences", "-n", str(LOOPS + SAMPLES), "--seed", str(TRAINING_SEED + 1))[1]
drawn = [loop for loop in drawn if len(loop) <= MOST_LETTERS]
real, drawn = drawn[:SAMPLES], drawn[SAMPLES:]
rows = teacher.tokenizer.encode_batch(drawn, teacher.length)
print(f"{len(rows)} loops in {time.time() - start:.0f} s:", *drawn[:4])

# %% [markdown]
# ## Distillation
# One student for every number of calls: each example has a number of its own, of which student and
# critic are told.

# %%
low, _, high = STEPS.partition("-")
steps = (int(low), int(high)) if high else int(low)
student = kd.from_preset(STUDENT) if STUDENT else None
epochs = -(-ROUNDS // 50)
rounds = 50 * epochs
start = time.time()
if rounds:
    distiller = kd.DMMDDistiller(teacher, student, steps=steps, seed=TRAINING_SEED, **OPTIONS)
    distiller.compile(
        **kd.annealed_optimizers(rounds, LEARNING_RATE, warmup=rounds // 10 if STUDENT else 0),
        # XLA, which Keras on TensorFlow leaves out on a CPU, where it takes a third off every round.
        jit_compile=keras.backend.backend() != "torch",
    )
    place = os.path.join(FOLDER, "student")
    os.makedirs(place, exist_ok=True)
    log = keras.callbacks.CSVLogger(os.path.join(place, "training.csv"))
    distiller.fit(rows, batch_size=BATCH_SIZE, steps_per_epoch=50, epochs=epochs, callbacks=[log])
    student = distiller.student
    kd.presets.save_to_preset(student, place)
elif student is None:
    student = kd.from_preset("proteins_student")
minutes = (time.time() - start) / 60
print(f"Distilled in {minutes:.1f} minutes on the {keras.backend.backend()} backend.")

# %% [markdown]
# ## Quality against the number of network calls
# Which loops are possible at all; how surprising those are to OLGA, in bits per loop; how many
# differ; and how far their lengths and their triples of letters are from those of real ones, in total
# variation. Other real loops show what "no difference" is at this number of samples.


# %%
def distance(one, other):
    """Total variation between the frequencies of two lists."""
    names, codes = np.unique(np.concatenate([one, other]), return_inverse=True)
    counts = [np.bincount(c, minlength=len(names)) for c in (codes[: len(one)], codes[len(one) :])]
    return 0.5 * float(np.abs(counts[0] / len(one) - counts[1] / len(other)).sum())


def triples(loops):
    return [loop[i : i + 3] for loop in loops for i in range(len(loop) - 2)] or [""]


def score(loops):
    p = probabilities(loops)
    possible = p > 0
    scores = {"possible": kd.metrics.mean_and_error(possible.astype(float))}
    if possible.sum() > 1:
        scores["bits"] = kd.metrics.mean_and_error(-np.log2(p[possible]))
    scores["unique"] = len(set(loops)) / len(loops), None
    scores["lengths"] = distance([len(x) for x in loops], [len(x) for x in drawn]), None
    scores["triples"] = distance(triples(loops), triples(drawn)), None
    return scores


def show(name, figures):
    cells = (f"{k} {kd.metrics.with_error(*v)}" for k, v in figures.items())
    print(f"{name:22}", *cells, sep="   ", flush=True)


def write(model, k, n=SAMPLES, seed=0):
    return model.tokenizer.decode(model.generate(n, steps=k, seed=seed, verbose=0))


table = {"teacher": {}, "student": {}}
for k in CALLS:
    for name, model in (("student", student), ("teacher", teacher)):
        table[name][k] = score(write(model, k))
        show(f"{name}, {k:3} calls", table[name][k])
truth = score(real)
show("real loops", truth)

# %%
titles = {
    "possible": "share that can exist",
    "bits": "bits per loop (of these)",
    "triples": "triples of letters, distance to real ones",
}
figure, axes = plt.subplots(1, len(titles), figsize=(13, 3.6), layout="constrained")
for axis, (name, title) in zip(axes, titles.items(), strict=True):
    for model, row in table.items():
        cells = {k: cell[name] for k, cell in row.items() if name in cell}
        means = [mean for mean, _ in cells.values()]
        errors = [error or 0.0 for _, error in cells.values()]
        axis.errorbar(list(cells), means, yerr=errors, marker="o", label=model)
    if name in truth:
        axis.axhline(truth[name][0], color="gray", linestyle=":", label="real loops")
    axis.set(xscale="log", xlabel="network calls", title=title)
    axis.set_xticks(CALLS, minor=False)
    axis.get_xaxis().set_major_formatter("{x:g}")
    axis.minorticks_off()
axes[0].legend()
picture = os.path.join(FOLDER, "proteins.png")
figure.savefig(picture, dpi=110)
print(f"Picture: {picture}")

# %% [markdown]
# ## Look at them

# %%
k = CALLS[0]
for name, loops in (
    (f"teacher, {k} calls", write(teacher, k, 4, seed=5)),
    (f"student, {k} calls", write(student, k, 4, seed=5)),
    ("real", real[:4]),
):
    print(f"{name:18}", *loops)

# %%
with open(os.path.join(FOLDER, "proteins.json"), "w") as file:
    json.dump(
        {
            "rounds": rounds,
            "steps": STEPS,
            "learning_rate": LEARNING_RATE,
            "batch_size": BATCH_SIZE,
            "teacher": TEACHER,
            "student": STUDENT,
            "options": OPTIONS,
            "training_seed": TRAINING_SEED,
            "minutes": round(minutes, 2),
            "samples": SAMPLES,
            "scores": {**table, "real": truth},
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "device": f"CPU, {os.cpu_count()} cores",
        },
        file,
        indent=1,
    )

# %% [markdown]
# ## Exercises
# 1. A model whose loops have fewer bits than real ones: is it better than nature?
# 2. Why is `possible` not enough?
# 3. Distil for one call alone, `STEPS=1`, with as many rounds. What does a student gain that has to
#    know one number of calls only?
#
# <details><summary>Answers</summary>
#
# 1. No: it makes likely loops too often. Real loops are the mark for bits, not zero.
# 2. One loop, written again and again, is possible. `unique`, the lengths and the triples would show
#    it.
# 3. Measure it with `CALLS=1`. All its rounds go to one task, where the student for 1 to 20 calls
#    spends a quarter of them on it.
#
# </details>
