"""How long texts come out: few calls, guidance, students.

Random letters, of each class from an alphabet of its own that overlaps with the next, 30 letters on
average, in rows of 48 that end tokens fill up. A teacher with labels is sampled with several numbers of
calls and weights of guidance; then students for 4 calls, distilled without guidance and with it.

    python -m benchmarks.lengths
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, write_json

LENGTH = 48
ALPHABETS = ["abcdefgh", "defghijk", "ghijklmn"]
NETWORK = {"hidden_dim": 64, "num_layers": 2, "num_heads": 2, "cond_dim": 32}
STUDENT_CALLS = 4


def make_texts(n, seed=0):
    """Texts and their classes."""
    draws = np.random.default_rng(seed)
    classes = draws.integers(0, len(ALPHABETS), n)
    sizes = np.clip(draws.normal(30, 6, n), 8, LENGTH - 1).astype(int)
    chosen = zip(classes, sizes, strict=True)
    return ["".join(draws.choice(list(ALPHABETS[c]), size)) for c, size in chosen], classes


def measure(name, model, calls, weight, samples):
    """A row: mean letters of a text, and the share of them that are of its class, with errors."""
    labels = np.arange(samples) % len(ALPHABETS)
    ids = model.generate(samples, steps=calls, labels=labels, guidance_scale=weight, verbose=0)
    texts = model.tokenizer.decode(ids)
    right = [
        np.mean([letter in ALPHABETS[label] for letter in text])
        for text, label in zip(texts, labels, strict=True)
        if text
    ]
    row = {"model": name, "calls": calls, "weight": weight}
    row |= {
        "letters": kd.metrics.mean_and_error([len(text) for text in texts]),
        "right": kd.metrics.mean_and_error(right),
    }
    shown = {k: kd.metrics.with_error(*row[k]) for k in ("letters", "right")}
    print_table([row | shown], list(row))
    return row


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=6000)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--calls", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--path", help="a folder for the results, elsewhere")
    args = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    tokenizer = kd.tokenizers.CharacterTokenizer("abcdefghijklmn", end=True)
    texts, classes = make_texts(args.texts)
    ids = tokenizer.encode_batch(texts, LENGTH)
    data = kd.metrics.mean_and_error([len(text) for text in texts])
    print("letters of the data:", kd.metrics.with_error(*data), flush=True)
    # As many updates as were asked for, whatever the size of the data.
    rows = np.resize(np.arange(args.texts), args.batch_size * max(args.updates, args.rounds))

    def fit(model, updates):
        some = rows[: updates * args.batch_size]
        model.fit(ids[some], classes[some], batch_size=args.batch_size, verbose=0)

    denoiser = kd.Denoiser(tokenizer.vocabulary_size, num_classes=len(ALPHABETS), **NETWORK)
    process = kd.MaskedDiffusion(tokenizer.vocabulary_size)
    teacher = kd.DiffusionModel(denoiser, process, tokenizer=tokenizer, label_dropout=0.1)
    teacher.compile(keras.optimizers.AdamW(2e-3, use_ema=True, ema_momentum=0.99))
    fit(teacher, args.updates)
    results = [
        measure("teacher", teacher, calls, weight, args.samples)
        for calls in args.calls
        for weight in args.weights
    ]
    for weight in (None, 2.0):
        distiller = kd.DMMDDistiller(teacher, steps=STUDENT_CALLS, guidance_scale=weight)
        distiller.compile(**kd.annealed_optimizers(args.rounds))
        fit(distiller, args.rounds)
        name = f"student of weight {weight or 1.0}"
        results.append(measure(name, distiller.student, STUDENT_CALLS, None, args.samples))
    place = {"folder": args.path} if args.path else {}
    write_json("lengths", {"data": data, "rows": results}, vars(args), **place)


if __name__ == "__main__":
    main()
