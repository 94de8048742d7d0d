"""Many samples to many files, by as many processes as there are; what is there is not drawn again.

    python examples/sample_shards.py digits_masked_student samples --rows 1000000 --rows-per-file 10000

Every process runs this with its number: `--process` and `--processes`, or what SLURM or torchrun
say in the environment. Processes do not talk to each other: file i is drawn by process i modulo their
number, from a seed of its own, so that no row is drawn twice, and any number of processes makes the
same files. A file appears in one move when it is whole; after a kill the same command goes on.
"""

import argparse
import os

import numpy as np

import keras_dmmd as kd
from keras_dmmd.files import replacing

MOST_FILES = 2**20


def environment(*names, default):
    """The first of these variables that is set, an integer."""
    return next((int(os.environ[name]) for name in names if name in os.environ), default)


def path_of(folder, number):
    return os.path.join(folder, f"samples_{number:06d}.npy")


def sample(model, folder, rows, rows_per_file, process=0, processes=1, seed=0, **options):
    """Draw the files of one process; returns the numbers of those that were drawn now."""
    files = -(-rows // rows_per_file)
    if files > MOST_FILES:
        raise ValueError(f"No more than {MOST_FILES} files can be told apart. Received: {files}")
    os.makedirs(folder, exist_ok=True)
    drawn = []
    for number in range(process, files, processes):
        path = path_of(folder, number)
        if os.path.exists(path):
            continue
        n = min(rows_per_file, rows - number * rows_per_file)
        # Of 32 bits: seeds below 4,096 have files of their own.
        samples = model.generate(n, seed=seed * MOST_FILES + number, **options)
        with replacing(path) as partial:
            np.save(partial, samples)
        drawn.append(number)
    return drawn


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a preset, its folder or handle")
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows-per-file", type=int, default=10_000)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--process", type=int, default=environment("SLURM_PROCID", "RANK", default=0))
    parser.add_argument(
        "--processes", type=int, default=environment("SLURM_NTASKS", "WORLD_SIZE", default=1)
    )
    args = parser.parse_args(argv)
    if not 0 <= args.process < args.processes:
        parser.error(f"--process must be from 0 to {args.processes - 1}. Received: {args.process}")
    model = kd.from_preset(args.model)
    settings = vars(args) | {"model": model}
    drawn = sample(**settings)
    print(f"process {args.process} of {args.processes}: {len(drawn)} files drawn")


if __name__ == "__main__":
    main()
