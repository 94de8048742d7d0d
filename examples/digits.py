# %% [markdown]
# # Distil a diffusion model of digits into 8 steps
#
# A masked diffusion model draws an 8×8 image of 17 grey levels from a canvas of masks, a few pixels a
# network call. With 64 calls its digits are good; with 8 it must guess eight pixels at a time, each on
# its own, and they do not fit together. D-MMD trains a student for which 8 calls are enough.
#
# ![Digits: of the teacher in 4, 8 and 64 calls, students in 4 and 8, real ones](../docs/digits.png)
#
# **Where it runs.** Made for a free machine on Colab or Kaggle, with a T4 or without. On two CPU cores
# the distillation takes 3.1 minutes and the whole notebook 7.4; on a T4 it was not timed.
# Choose the backend with `KERAS_BACKEND`: `jax`, `tensorflow` or `torch`. Everything below stays the
# same.
#
# **Data.** The digits come with scikit-learn, which the first cell installs; nothing is downloaded.

# %%
import json
import os
import platform
import time

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_dmmd as kd

PROCESS = os.environ.get("PROCESS", "masked")  # or "uniform"
ROUNDS = int(os.environ.get("ROUNDS", "400"))  # rounds of critic and student
SAMPLES = int(os.environ.get("SAMPLES", "1000"))  # for each Fréchet distance
SEEDS = range(int(os.environ.get("SEEDS", "3")))
LEARNING_RATE = float(os.environ.get("LEARNING_RATE", "1e-3"))
STEPS = int(os.environ.get("STEPS", "8"))  # network calls for which the student is made
STUDENT = os.environ.get("STUDENT")  # a student to go on from: a preset or a folder of this script
TRAINING_SEED = int(os.environ.get("TRAINING_SEED", "0"))
OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))  # of DMMDDistiller: {"renoise": "posterior", …}
FOLDER = os.environ.get("FOLDER", "runs/digits")
BATCH_SIZE = 60  # divides the 1,500 training images: every batch has one shape

os.makedirs(FOLDER, exist_ok=True)
keras.utils.set_random_seed(TRAINING_SEED)

# %% [markdown]
# ## Teacher and data
# The teacher ships with the package; `examples/train_digits_teacher.py` trained it.

# %%
(x_train, _), (x_test, _) = kd.datasets.load_digits()  # from scikit-learn's own files
teacher = kd.from_preset(f"digits_{PROCESS}_teacher")
teacher.compile()
corruptions = np.tile(x_test, (16, 1))  # 16 of each image, at times spread evenly over every batch
bits = teacher.evaluate(corruptions, batch_size=297, verbose=0, return_dict=True)["bits_per_dim"]
print(f"{teacher.process}: {bits:.3f} bits per pixel on held-out images")

# %% [markdown]
# ## Distillation
# Student and critic start as copies of the teacher. A masked student is also given noise:
# different noise, different digits. An epoch is 25 rounds, each a critic update and a student update.
#
# What to watch: `log_ratio_mean` should stay near 0 (the critic keeps up with the student), and
# `student_entropy` falls, because a student that makes its tokens agree has fewer choices left a call.
#
# The game of student and critic never quite comes to rest: a learning rate that falls to a twentieth,
# and an average of the student over the last twelfth of the run, steady it.

# %%
rounds_an_epoch = len(x_train) // BATCH_SIZE
epochs = max(1, ROUNDS // rounds_an_epoch)
rounds = epochs * rounds_an_epoch

# A student that is already trained waits for its critic, which starts as the teacher.
first = kd.from_preset(STUDENT) if STUDENT else None
distiller = kd.DMMDDistiller(teacher, first, steps=STEPS, seed=TRAINING_SEED, **OPTIONS)
distiller.compile(
    **kd.annealed_optimizers(rounds, LEARNING_RATE, warmup=rounds // 10 if STUDENT else 0),
    # XLA, which Keras on TensorFlow leaves out on a CPU, where it takes a third off every round.
    jit_compile=keras.backend.backend() != "torch",
)
start = time.time()
place = os.path.join(FOLDER, "student")
os.makedirs(place, exist_ok=True)
log = keras.callbacks.CSVLogger(os.path.join(place, "training.csv"))
distiller.fit(x_train, batch_size=BATCH_SIZE, epochs=epochs, callbacks=[log])
student = distiller.student
minutes = (time.time() - start) / 60
print(f"Distilled in {minutes:.1f} minutes on the {keras.backend.backend()} backend.")
kd.presets.save_to_preset(student, place)

# %% [markdown]
# ## Quality against the number of network calls
# The Fréchet distance compares samples with real digits in the features of a small CNN. It reads higher
# the fewer samples there are: as many real digits as samples, but half of them at most, against the
# others show what a distance of "no difference" is. The student that ships
# was trained for 1 to 64 calls, 9,000 rounds, by `benchmarks/calls.py`: its card has the settings.

# %%
shipped = kd.from_preset(f"digits_{PROCESS}_student")
features = kd.ImageFeatures.from_preset("digits_features")
real = np.concatenate([x_train, x_test])
reference = features.statistics(real)


few = min(SAMPLES, len(real) // 2)


def real_against_real(seed):
    order = np.random.default_rng(seed).permutation(len(real))
    parts = (real[order[:few]], real[order[few:]])
    return kd.metrics.frechet_distance(*map(features.statistics, parts))


between_real = np.mean([real_against_real(seed) for seed in range(10)])
print(f"\nFréchet distance to real digits, {SAMPLES} samples, {len(SEEDS)} seeds, ± standard error")
print(f"{f'{few} real digits, to the others':35}{between_real:.3f}")
models = {
    "student": (student, sorted({4, 8, STEPS})),
    "shipped student": (shipped, (4, 8)),
    "teacher": (teacher, (4, 8, 16, 64)),
}
table = {name: {} for name in models}
for name, (model, calls) in models.items():
    for k in calls:  # the 64 calls of the teacher take minutes
        row = kd.metrics.frechet_by_steps(
            model, features.statistics, reference, [k], samples=SAMPLES, seeds=SEEDS
        )
        table[name].update(row)
        distance = kd.metrics.with_error(*row[k])
        print(f"{name + ',':17}{k:3} network calls  {distance}", flush=True)

# %% [markdown]
# ## Look at them


# %%
def canvas(tokens, columns=16):
    """Images `(2 * columns, 64)` as one picture of two rows, with a line between them."""
    images = np.pad(tokens.reshape(2, columns, 8, 8), [(0, 0), (0, 0), (1, 1), (1, 1)])
    return images.transpose(0, 2, 1, 3).reshape(20, columns * 10)


rows = [
    ("teacher, 4 calls", teacher.generate(32, steps=4, seed=1)),
    ("teacher, 8 calls", teacher.generate(32, steps=8, seed=1)),
    ("teacher, 64 calls", teacher.generate(32, steps=64, seed=1)),
    ("student, 4 calls", student.generate(32, steps=4, seed=1)),
    ("student, 8 calls", student.generate(32, steps=8, seed=1)),
    ("shipped student, 8 calls", shipped.generate(32, steps=8, seed=1)),
    ("real digits", x_test[:32]),
]
figure, axes = plt.subplots(len(rows), figsize=(8, 8.4), layout="constrained")
for axis, (title, tokens) in zip(axes, rows, strict=True):
    axis.imshow(canvas(tokens), cmap="gray_r", vmin=0, vmax=16)
    name, _, calls = title.partition(", ")
    distance = table.get(name, {}).get(int(calls.split()[0]) if calls else None)
    axis.set_title(
        title if distance is None else f"{title}: Fréchet distance {distance[0]:.2f}", loc="left"
    )
    axis.set_axis_off()
picture = os.path.join(FOLDER, "digits.png")
figure.savefig(picture, dpi=120)
print(f"Picture: {picture}")

# %%
with open(os.path.join(FOLDER, "digits.json"), "w") as file:
    json.dump(
        {
            "process": PROCESS,
            "steps": STEPS,
            "rounds": rounds,
            "learning_rate": LEARNING_RATE,
            "options": OPTIONS,
            "went_on_from": STUDENT,
            "training_seed": TRAINING_SEED,
            "minutes": round(minutes, 2),
            "samples": SAMPLES,
            "seeds": list(SEEDS),
            "frechet": {name: {str(k): cell for k, cell in row.items()} for name, row in table.items()},
            "between_real": between_real,
            "teacher_bits_per_dim_held_out": bits,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "device": f"{platform.machine()}, {os.cpu_count()} cores",
        },
        file,
        indent=1,
    )

# %% [markdown]
# ## Exercises
# 1. How much better is the student in 4 calls than the teacher in 4? And how many calls does the
#    teacher need to be as good?
# 2. Set `OPTIONS` to `{"noise": null}` and distil again. What do the digits of 4 calls look like, and
#    why?
# 3. Set `PROCESS` to `uniform`. Why does that student need no noise?
#
# <details><summary>Answers</summary>
#
# 1. Compare the rows of the table. In README's run the student has 0.818 in 4 calls, where the teacher
#    has 2.647; the teacher needs between 16 calls (0.924) and 64 (0.706).
# 2. A canvas of masks is the same for every sample. Without noise the student has one prediction for
#    its first call, and pixels that are drawn in it cannot know of each other: strokes do not fit
#    together, or one kind of digit is drawn again and again.
# 3. Uniform diffusion begins with random pixels. They differ from sample to sample, and can tell a
#    student which digit to draw.
#
# </details>
