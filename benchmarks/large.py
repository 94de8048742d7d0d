"""A network of MDLM's size: what it takes to train, to distil and to sample.

    KERAS_BACKEND=jax python -m benchmarks.large

The transformer of MDLM (12 layers of 768 features, about 170 million weights, random here) over 50,257
words and 1,024 tokens, blocks made again for gradients, logits in tiles. Each of three jobs runs in a
process of its own: an update of a teacher, a round of D-MMD, a sample in 8 calls, one row each. What is
written down: the peak resident memory of the process, and seconds of the second run.
"""

import argparse
import json
import subprocess
import sys
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import peak_bytes, print_table, write_json
from benchmarks.vocabulary import MDLM

JOBS = ["import", "train", "distil", "sample"]
GIB = 2.0**30


def teacher_of(args):
    keras.utils.set_random_seed(0)
    denoiser = kd.Denoiser(args.words, remat=True, **args.size)
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(args.words), length=args.length)


def job(name, args):
    """Weights, peak bytes and seconds of a job, in this process."""
    found = {"job": name}
    if name != "import":
        teacher = teacher_of(args)
        found["weights"] = int(teacher.count_params())
        x = np.random.default_rng(0).integers(0, args.words, (args.rows, args.length))
        if name == "sample":

            def run():
                teacher.generate(args.rows, steps=args.steps, seed=0, verbose=0)
        else:
            model = teacher if name == "train" else kd.DMMDDistiller(teacher, steps=args.steps)
            model.compile(jit_compile=keras.backend.backend() != "torch")

            def run():
                model.train_on_batch(x)

        run()
        start = time.perf_counter()
        run()
        found["seconds"] = round(time.perf_counter() - start, 2)
    found["peak GiB"] = peak_bytes() / GIB
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=50_257)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS)
    parser.add_argument("--size", type=json.loads, default=MDLM, help="of the network, JSON")
    parser.add_argument("--path", default=None, help="folder of the result file")
    parser.add_argument("--here", action="store_true", help="run one job in this process")
    args = parser.parse_args(argv)
    if args.here:
        print(json.dumps(job(args.jobs[0], args)))
        return None
    own = [f"--{name}={getattr(args, name)}" for name in ("words", "length", "rows", "steps")]
    found = []
    for name in args.jobs:
        command = [sys.executable, "-m", "benchmarks.large", "--here", "--jobs", name, *own]
        command += ["--size", json.dumps(args.size)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append(json.loads(output.splitlines()[-1]))
        print(found[-1], flush=True)
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json("large", found, {k: v for k, v in vars(args).items() if k != "here"}, **kwargs)
    print_table(found, ["job", "weights", "seconds", "peak GiB"])
    return found


if __name__ == "__main__":
    main()
