"""What the gradient moment sees that likelihood does not, on the State of the Union.

    python -m benchmarks.gradient_moment

The reference is a small causal network over characters, of another architecture and seed than any
generator here. Each row of the table is a set of texts against held-out speeches: bits per character,
and the gradient moment, which is near 0 where texts are like speeches in all that the reference
knows. Real text has to come out level with 0; one likely row repeated, and shuffled letters, far from
it; a generator that truncates to a nucleus, lowest somewhere between the extremes.
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import common

COLUMNS = ["texts", "bits per character", "gradient moment", "uncentered"]
TOP_P = [1.0, 0.98, 0.95, 0.9, 0.8, 0.6, 0.3]


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", default="sotu_chars_reference")
    parser.add_argument("--path", help="where the speeches are, see keras_dmmd.datasets.load_sotu")
    parser.add_argument("--models", nargs="+", default=["sotu_chars_teacher", "sotu_chars_student"])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--top-p", type=float, nargs="+", default=TOP_P)
    parser.add_argument("--samples", type=int, default=512, help="a set, in whole batches")
    parser.add_argument("--batch-size", type=int, default=64, help="of one estimate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=common.RESULTS, help="of the result file")
    return parser.parse_args(argv)


def measure(texts, data, reference, tokenizer, batch_size):
    """Both figures of a set of rows, `(mean, error)` each."""
    moment = kd.metrics.GradientMoment(reference)
    bits = kd.metrics.BitsPerCharacter(reference, tokenizer)
    bits.update_state(texts)
    for start in range(0, len(texts), batch_size):
        part = slice(start, start + batch_size)
        moment.update_state(texts[part], data[part])
    moment, bits = moment.result(), bits.result()

    def pair(figures, name):
        return figures[name], figures[f"{name}_error"]

    return {
        "bits per character": pair(bits, "bits_per_character"),
        "gradient moment": pair(moment, "centered"),
        "uncentered": pair(moment, "uncentered_samples"),
    }


def main(argv=None):
    args = parse(argv)
    keras.utils.set_random_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    reference = kd.metrics.CausalReference.from_folder(args.reference)
    models = {name: kd.from_preset(name) for name in args.models}
    first = models[args.models[0]]
    tokenizer, length = first.tokenizer, first.length
    _, speeches = kd.datasets.load_sotu(args.path, download=args.path is None)
    held_out = [kd.datasets.text8(text) + " " for text in speeches]
    rows = rng.permutation(kd.datasets.pack(held_out, tokenizer, length))
    n = min(args.samples, len(rows) // 2 // args.batch_size * args.batch_size)
    data, real = rows[:n], rows[n : 2 * n]

    nats = [reference.judge(tokenizer.decode(real[i : i + 1]))[0][0] for i in range(min(n, 64))]
    likeliest = real[int(np.argmin(nats))]
    sets = {
        "held-out speeches": real,
        "one of them, the likeliest, repeated": np.tile(likeliest, (n, 1)),
        "their letters shuffled": rng.permuted(real, axis=1),
    }
    results = []

    def add(name, texts):
        figures = measure(texts, data, reference, tokenizer, args.batch_size)
        results.append({"texts": name, **figures})
        shown = {k: "{:.4f} ± {:.4f}".format(*v) for k, v in figures.items()}
        common.print_table([{"texts": name, **shown}], COLUMNS)

    for name, texts in sets.items():
        add(name, texts)
    for name, model in models.items():
        for top_p in args.top_p:
            texts = model.generate(n, steps=args.steps, top_p=top_p, seed=args.seed, verbose=0)
            add(f"{name}, {args.steps} calls, top-p {top_p:g}", texts)
    return common.write_json("gradient_moment", results, {**vars(args), "samples": n}, args.folder)


if __name__ == "__main__":
    main()
