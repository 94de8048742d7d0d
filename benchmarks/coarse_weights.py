"""What the demo's coarse weights cost: `examples/demo.py` rounds them, so that its page is small.

    KERAS_BACKEND=torch python -m benchmarks.coarse_weights

Teachers and students of the demo with weights as they are, as int8, and with fewer levels: bits per
character of speeches under `sotu_chars_reference`, Fréchet distances of digits.
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import common
from examples import demo
from keras_dmmd.backend.writers.integers import FEWEST

CALLS = {"digits": {"teacher": 16, "student": 8}, "speeches": {"teacher": 32, "student": 8}}
SAMPLES = {"digits": (500, 2), "speeches": (200, 1)}  # and seeds


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=list(CALLS), default=["speeches", "digits"])
    parser.add_argument("--levels", nargs="+", type=int, default=[0, 127, 31, 15])  # 0: as they are
    parser.add_argument("--samples", type=int, help="in place of 500 digits, 200 speeches")
    parser.add_argument("--results", default=common.RESULTS, help="folder of the result file")
    return parser.parse_args(argv)


def judge(name):
    """What scores ids: `(bits per character or Fréchet distance, its error or None)`."""
    if name == "speeches":
        tokenizer = kd.from_preset(demo.SHOWN[name]["teacher"]).tokenizer
        reference = kd.metrics.CausalReference.from_folder("sotu_chars_reference")
        return lambda ids: kd.metrics.bits_per_character(tokenizer.decode(ids), reference)
    (train, _), (test, _) = kd.datasets.load_digits()
    features = kd.ImageFeatures.from_preset("digits_features")
    real = features.statistics(np.concatenate([train, test]))
    return lambda ids: (kd.metrics.frechet_distance(features.statistics(ids), real), None)


def round_weights(model, levels):
    for weight in model.weights:
        table = keras.ops.convert_to_numpy(weight)
        if table.ndim == 2 and table.size >= FEWEST:
            integers, scale = demo.rounded(table, levels)
            weight.assign(integers * scale)


def main(argv=None):
    args = parse(argv)
    results = []
    for name in args.sets:
        score, (samples, seeds) = judge(name), SAMPLES[name]
        for role, calls in CALLS[name].items():
            for levels in args.levels:
                model = kd.from_preset(demo.SHOWN[name][role])
                if levels:
                    round_weights(model, levels)
                n = args.samples or samples
                found = [score(model.generate(n, steps=calls, seed=i, verbose=0)) for i in range(seeds)]
                mean, error = kd.metrics.mean_and_error([value for value, _ in found])
                error = found[0][1] if seeds == 1 else error
                cell = {"set": name, "model": role, "calls": calls, "levels": levels}
                results.append({**cell, "score": mean, "error": error})
                common.print_table(results[-1:], list(results[-1]))
                common.write_json("coarse_weights", results, vars(args), args.results)


if __name__ == "__main__":
    main()
