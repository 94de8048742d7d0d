# %% [markdown]
# # Molecules in 16 steps
#
# The teacher writes drug-like molecules as SMILES strings, 56 tokens at a time. A SMILES string is
# merciless: a ring that opens must close, a branch too, and every atom has its bonds. Tokens that are
# drawn apart break it, so a teacher that fills many at once writes few molecules that exist. D-MMD
# trains a student for which 16 calls are enough.
#
# ![What teacher and student write, by network calls](../docs/molecules.png)
#
# **Where it runs.** Made for a free T4 on Colab or Kaggle, and it runs on two CPU cores: by the times
# per sample in docs/results.md its molecules take about 40 minutes of one core, on Torch, and the
# minutes of the distillation are printed below; `SAMPLES=100` takes a tenth. A T4 was not timed. Choose
# the backend with `KERAS_BACKEND`: `jax`, `tensorflow` or `torch`.
#
# **Data.** The molecules come in the package `molsets`, which the first cell installs; where it is
# missing they are downloaded from the authors' repository (84 MB). The network that compares them comes
# in `fcd-torch`, which runs on Torch.

# %%
import json
import os
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Draw

import keras_dmmd as kd

ROUNDS = int(os.environ.get("ROUNDS", "200"))  # of critic and student; 0 measures STUDENT as it is
STEPS = int(os.environ.get("STEPS", "16"))  # network calls of the student
SAMPLES = int(os.environ.get("SAMPLES", "1000"))  # molecules per figure and seed
SEEDS = range(int(os.environ.get("SEEDS", "2")))
CALLS = [int(k) for k in os.environ.get("CALLS", "8,16,64").split(",")]  # that are measured
LEARNING_RATE = float(os.environ.get("LEARNING_RATE", "1e-3"))
BATCH_SIZE = int(os.environ.get("BATCH_SIZE", "64"))
TEACHER = os.environ.get("TEACHER", "moses_teacher")
OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))  # of DMMDDistiller: {"temperature": 0.8, …}
STUDENT = os.environ.get("STUDENT")  # a student to go on from: a preset or a folder of this script
TRAINING_SEED = int(os.environ.get("TRAINING_SEED", "0"))
POLICY = os.environ.get("POLICY", "float32")  # mixed_bfloat16 is faster where the processor has it
MOSES = os.environ.get("MOSES")  # the folder of the data, where the package is not installed
FOLDER = os.environ.get("FOLDER", "runs/molecules")

os.makedirs(FOLDER, exist_ok=True)
keras.utils.set_random_seed(TRAINING_SEED)
keras.config.set_dtype_policy(POLICY)

# %% [markdown]
# ## Teacher and data
# The teacher ships with the package, its tokenizer inside; `examples/train_sequence_teacher.py`
# trained it on the molecules of MOSES.

# %%
teacher = kd.from_preset(TEACHER)
train, test, _ = kd.datasets.load_moses(MOSES, download=True)  # downloaded if not installed
rng = np.random.default_rng(0)


def some(molecules, n):
    """At most `n` of them, drawn without replacement."""
    return [molecules[i] for i in rng.permutation(len(molecules))[:n]]


rows = teacher.tokenizer.encode_batch(some(train, 200_000), teacher.length)
train = set(train)  # for novelty


def write(model, n, **kwargs):
    """`n` strings of a model."""
    return model.tokenizer.decode(model.generate(n, **kwargs))


print(*write(teacher, 4, steps=56, seed=1), sep="\n")

# %% [markdown]
# ## Distillation
# A round is a critic update and a student update. The masked student is given noise beside its masks:
# other noise, other molecules.

# %%
epochs = -(-ROUNDS // 50)
rounds = 50 * epochs
student = kd.from_preset(STUDENT) if STUDENT else None
start = time.time()
if rounds:
    distiller = kd.DMMDDistiller(teacher, student, steps=STEPS, seed=TRAINING_SEED, **OPTIONS)
    distiller.compile(
        # A student that is trained already waits for its critic, which starts as the teacher.
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
minutes = (time.time() - start) / 60
print(f"Distilled in {minutes:.1f} minutes on the {keras.backend.backend()} backend.")

# %% [markdown]
# ## Quality against the number of network calls
# RDKit says which strings are molecules; of those, how many differ and how many are new; and the
# Fréchet ChemNet Distance (FCD) compares them with molecules of the test set: lower is better. Real
# molecules against real ones show what "no difference" is at this number of samples.

# %%
try:
    chemnet = kd.metrics.ChemNetFeatures()
except ImportError as error:  # validity needs only rdkit
    print(error)
    chemnet = None


reference = chemnet and chemnet.statistics(some(test, 5_000))


def score(molecules):
    shares = kd.metrics.score_molecules(molecules, train, k=min(1000, len(molecules)))
    scores = {name: share for name, (share, _) in shares.items()}
    if chemnet:
        found = chemnet.statistics(molecules)  # of those that are valid
        enough = found.count > 1
        scores["fcd"] = kd.metrics.frechet_distance(found, reference) if enough else float("nan")
    return scores


def summary(sets):
    """Of every score the mean over sets and its standard error."""
    scores = [score(molecules) for molecules in sets]
    return {k: kd.metrics.mean_and_error([s[k] for s in scores]) for k in scores[0]}


def show(name, figures):
    cells = (f"{k} {kd.metrics.with_error(*v)}" for k, v in figures.items())
    print(f"{name:22}", *cells, sep="   ", flush=True)


table = {"teacher": {}, "student": {}}
for k in CALLS:
    for name, model in (("student", student), ("teacher", teacher)):
        table[name][k] = summary([write(model, SAMPLES, steps=k, seed=seed) for seed in SEEDS])
        show(f"{name}, {k:3} calls", table[name][k])
real = summary([some(test, SAMPLES) for _ in SEEDS])
show("molecules of the test", real)

# %%
figure, axes = plt.subplots(1, len(real), figsize=(4 * len(real), 3.4), layout="constrained")
for axis, name in zip(axes, real, strict=True):
    for model, row in table.items():
        means, errors = zip(*(cell[name] for cell in row.values()), strict=True)
        axis.errorbar(list(row), means, yerr=errors, marker="o", label=model)
    if name != "novelty":
        axis.axhline(real[name][0], color="gray", linestyle=":", label="real molecules")
    axis.set(xscale="log", xlabel="network calls", title=name)
    axis.set_xticks(CALLS, minor=False)
    axis.get_xaxis().set_major_formatter("{x:g}")
    axis.minorticks_off()
axes[0].legend()
picture = os.path.join(FOLDER, "molecules.png")
figure.savefig(picture, dpi=110)
print(f"Picture: {picture}")

# %% [markdown]
# ## Look at them

# %%
drawn = {
    f"teacher, {STEPS} calls": write(teacher, 6, steps=STEPS, seed=5),
    f"student, {STEPS} calls": write(student, 6, steps=STEPS, seed=5),
    "real": test[:6],
}
figure, axes = plt.subplots(len(drawn), 6, figsize=(12, 5.5), layout="constrained")
for row, (name, molecules) in zip(axes, drawn.items(), strict=True):
    row[0].set_title(name, loc="left", fontsize="medium")
    for axis, text in zip(row, molecules, strict=True):
        axis.set(xticks=[], yticks=[])
        with rdBase.BlockLogs():  # which RDKit would say of every string that is no molecule
            molecule = Chem.MolFromSmiles(text)
        if molecule is not None:  # else an empty frame
            axis.imshow(Draw.MolToImage(molecule, size=(400, 320)))
figure.savefig(os.path.join(FOLDER, "drawn.png"), dpi=100)

# %%
with open(os.path.join(FOLDER, "molecules.json"), "w") as file:
    json.dump(
        {
            "rounds": rounds,
            "steps": STEPS,
            "learning_rate": LEARNING_RATE,
            "batch_size": BATCH_SIZE,
            "teacher": TEACHER,
            "options": OPTIONS,
            "went_on_from": STUDENT,
            "training_seed": TRAINING_SEED,
            "policy": POLICY,
            "minutes": round(minutes, 2),
            "samples": SAMPLES,
            "seeds": list(SEEDS),
            "scores": {**table, "real": real},
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "device": f"CPU, {os.cpu_count()} cores",
        },
        file,
        indent=1,
    )

# %% [markdown]
# ## Exercises
# 1. Which scores would a model win that writes `CCO` again and again?
# 2. Why are valid strings rarer with few calls, although every single prediction of the teacher is
#    good?
# 3. Set `OPTIONS` to `{"temperature": 0.8}` and distil again. Which scores rise, and which fall?
#
# <details><summary>Answers</summary>
#
# 1. Validity, which is why uniqueness, novelty and the distance stand beside it.
# 2. A bracket that opens and the one that closes it are drawn in the same call, each on its own. The
#    predictions are right one by one, and their product is not.
# 3. A sharper teacher makes more valid strings that resemble each other more: expect validity to rise,
#    and uniqueness and the Fréchet distance to suffer. Measure it; that is what the table is for.
#
# </details>
