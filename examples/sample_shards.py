"""Many samples to many files, by as many processes as there are; what is there is not drawn again.

    python examples/sample_shards.py digits_masked_student samples --rows 1000000 --rows-per-file 10000

Every process runs this with its number: `--process` and `--processes`, or what SLURM or torchrun
say in the environment. Processes do not talk to each other: file i is drawn by process i modulo their
number, from a seed of its own, so that no row is drawn twice, and any number of processes makes the
same files. A file appears in one move when it is whole; after a kill the same command goes on.

`manifest.json` says what the folder holds: the settings, how many files are done and of how many, and
of each its rows, its seed and its checksum. Settings that differ are refused. With `--verify` files
that do not agree with their checksums are drawn again.
"""

import argparse
import hashlib
import json
import os

import keras
import numpy as np

import keras_dmmd as kd
from keras_dmmd.files import read_json, replacing, write_json
from keras_dmmd.fingerprints import weights_hash

MOST_FILES = 2**20
MANIFEST = "manifest.json"


def environment(*names, default):
    """The first of these variables that is set, an integer."""
    return next((int(os.environ[name]) for name in names if name in os.environ), default)


def path_of(folder, number):
    return os.path.join(folder, f"samples_{number:06d}.npy")


def facts_of(path):
    """Where rows, seed and checksum of a file of samples are: beside it."""
    return path.removesuffix("npy") + "json"


def checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Shards:
    """The files of a folder, and its manifest.

    Args:
        folder: it is made.
        settings: what decides the rows, a dict that JSON holds.
        files: how many there will be.

    Raises:
        ValueError: the folder was begun with other settings.
    """

    def __init__(self, folder, settings, files):
        self.folder, self.settings, self.files = folder, settings, files
        self.facts = {}
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, MANIFEST)
        if os.path.exists(path):
            known = read_json(path).get("settings", {})
            names = sorted({*known, *settings})
            other = [n for n in names if known.get(n) != settings.get(n)]
            if other:
                differ = ", ".join(f"{n}={known.get(n)!r}, not {settings.get(n)!r}" for n in other)
                raise ValueError(
                    f"The folder {os.fspath(folder)!r} was begun with {differ}: take another one."
                )
        self.write_manifest()

    def is_done(self, number, verify=False):
        """Whether a file is there; if asked, whether it is what was written."""
        path = path_of(self.folder, number)
        if not os.path.exists(path) or not os.path.exists(facts_of(path)):
            return False
        return not verify or checksum(path) == read_json(facts_of(path))["sha256"]

    def add(self, number, samples, seed):
        """Write a file, what is known of it beside it, and then the manifest."""
        path = path_of(self.folder, number)
        self.facts.pop(facts_of(os.path.basename(path)), None)
        with replacing(path, facts_of(path)) as (data, facts):
            np.save(data, samples)
            with open(facts, "w") as file:
                json.dump({"rows": len(samples), "seed": seed, "sha256": checksum(data)}, file)
        self.write_manifest()

    def write_manifest(self):
        """Write what all processes have done.

        Another one may have finished a file meanwhile, and this have written over its manifest: so it
        looks again afterwards, and the last one to write has seen all.
        """
        seen = None
        while seen != (found := self._names()):
            seen = found
            for name in seen - self.facts.keys():
                self.facts[name] = read_json(os.path.join(self.folder, name))
            shards = {name.removesuffix("json") + "npy": self.facts[name] for name in sorted(seen)}
            content = {"settings": self.settings, "files": self.files, "done": len(shards)}
            write_json(os.path.join(self.folder, MANIFEST), {**content, "shards": shards})

    def _names(self):
        names = (facts_of(os.path.basename(path_of("", i))) for i in range(self.files))
        return set(os.listdir(self.folder)) & set(names)


def sample(model, folder, rows, rows_per_file, process=0, processes=1, seed=0, verify=False, **options):
    """Draw the files of one process; returns the numbers of those that were drawn now."""
    files = -(-rows // rows_per_file)
    if files > MOST_FILES:
        raise ValueError(f"No more than {MOST_FILES} files can be told apart. Received: {files}")
    settings = {
        "weights": weights_hash(model),
        "sampler": repr(model.sampler),
        "backend": keras.backend.backend(),
        "rows": rows,
        "rows_per_file": rows_per_file,
        "seed": seed,
        "options": {name: repr(value) for name, value in sorted(options.items())},
    }
    shards, drawn = Shards(folder, settings, files), []
    for number in range(process, files, processes):
        if shards.is_done(number, verify):
            continue
        n = min(rows_per_file, rows - number * rows_per_file)
        own = seed * MOST_FILES + number  # of 32 bits: seeds below 4,096 have files of their own
        shards.add(number, model.generate(n, seed=own, **options), own)
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
    parser.add_argument("--verify", action="store_true", help="read what is there, and compare it")
    parser.add_argument("--process", type=int, default=environment("SLURM_PROCID", "RANK", default=0))
    parser.add_argument(
        "--processes", type=int, default=environment("SLURM_NTASKS", "WORLD_SIZE", default=1)
    )
    args = parser.parse_args(argv)
    if not 0 <= args.process < args.processes:
        parser.error(f"--process must be from 0 to {args.processes - 1}. Received: {args.process}")
    model = kd.from_preset(args.model)
    settings = vars(args) | {"model": model, "steps": args.steps or model.steps}
    drawn = sample(**settings)
    print(f"process {args.process} of {args.processes}: {len(drawn)} files drawn")


if __name__ == "__main__":
    main()
