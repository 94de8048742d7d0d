"""Peak memory of a call that asks for many samples of a large vocabulary, beside one that asks for few.

    KERAS_BACKEND=jax python -m benchmarks.rows

`generate` of a masked network of random weights over 50,257 words, each number of samples in a process
of its own: its peak resident memory, less that of the smallest number, over the size of the result.
"""

import argparse
import json
import subprocess
import sys

import keras

import keras_dmmd as kd
from benchmarks.common import peak_bytes, print_table, write_json

MIB = 2.0**20
SIZE = {"hidden_dim": 64, "num_layers": 2, "num_heads": 2}


def peak(n, args):
    """MiB that this process has taken at most, after `generate(n)`."""
    keras.utils.set_random_seed(0)
    denoiser = kd.Denoiser(args.words, **SIZE)
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(args.words), length=args.length)
    drawn = model.generate(n, steps=args.steps, seed=0, verbose=0)
    assert drawn.shape == (n, args.length)
    return peak_bytes() / MIB


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=50_257)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--samples", nargs="+", type=int, default=[64, 250, 1000])
    parser.add_argument("--path", default=None, help="folder of the result file")
    parser.add_argument("--here", action="store_true", help="measure one number in this process")
    args = parser.parse_args(argv)
    if args.here:
        print(json.dumps(peak(args.samples[0], args)))
        return None
    own = [f"--{name}={getattr(args, name)}" for name in ("words", "length", "steps")]
    found = []
    for n in args.samples:
        command = [sys.executable, "-m", "benchmarks.rows", "--here", "--samples", str(n), *own]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        result = n * args.length * 4 / MIB
        found.append({"samples": n, "peak MiB": json.loads(output.splitlines()[-1])})
        found[-1] |= {"more MiB": found[-1]["peak MiB"] - found[0]["peak MiB"], "result MiB": result}
        print(found[-1], flush=True)
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json("rows", found, {k: v for k, v in vars(args).items() if k != "here"}, **kwargs)
    print_table(found, list(found[0]))
    return found


if __name__ == "__main__":
    main()
