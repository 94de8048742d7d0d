"""What a distillation with adapters takes and gives, beside one that trains all weights.

    python -m benchmarks.adapters
    python -m benchmarks.adapters --quality digits sotu --folder runs/adapters

Bytes of all weights and of the optimizers of a distillation, over those of its teacher alone: of a
network of MiniLM's size, with random weights. A weight that several networks share counts once; on JAX
the arrays that the process holds are added up as well.

Quality: students of the teachers that ship, after the same rounds from the same seeds, with adapters
and without. Of digits the Fréchet distance in 8 network calls; of speeches the known words, the entropy
of characters, and bits per character under a judge, in 8 calls. What is done is a file in the folder,
and a training that was cut off goes on from its last backup: the same command goes on where it stopped.
"""

import argparse
import functools
import gc
import json
import os
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import common
from benchmarks.versions import MINI_LM

MIB = 2.0**20
TEACHERS = {"digits": "digits_masked_teacher", "sotu": "sotu_chars_teacher"}
CALLS = 8
BYTES = ["training", "teacher MiB", "weights MiB", "optimizer MiB", "over the teacher alone"]
QUALITY = ["data", "training", "seed", "minutes", "frechet", "known_words", "entropy", "bits"]


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--quality", nargs="+", choices=sorted(TEACHERS), default=[])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="where all is trained")
    parser.add_argument("--adapter-rate", type=float, default=3e-3, help="of adapters")
    parser.add_argument("--samples", type=int, default=2000, help="images a seed; a tenth of speeches")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--path", help="where the speeches are, see keras_dmmd.datasets.load_sotu")
    parser.add_argument("--folder", help="of the students, for going on")
    parser.add_argument("--results", default=common.RESULTS, help="folder of the result files")
    return parser.parse_args(argv)


# Bytes ------------------------------------------------------------------------------------------------


def teacher_of(size):
    """A teacher around a KerasHub backbone with random weights."""
    import keras_hub

    from keras_dmmd.models.hub import HubDenoiser

    backbone = keras_hub.models.BertBackbone(**size)
    denoiser = HubDenoiser(backbone, mask_token_id=103 % size["vocabulary_size"])
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(size["vocabulary_size"]), length=32)


def count_bytes(variables):
    """Bytes of variables, each counted once."""
    once = {id(v): v for v in variables}.values()
    return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in once)


def held_bytes():
    """Bytes of all arrays that JAX holds, or `None` on another backend."""
    if keras.backend.backend() != "jax":
        return None
    import jax

    gc.collect()
    # An array that was read on a CPU has a second object, for numpy, of the same memory.
    return sum({a.unsafe_buffer_pointer(): a.nbytes for a in jax.live_arrays()}.values())


def measure_bytes(size, rank, int8=False):
    """A row of the table; `rank` is `None` where all weights are trained."""
    keras.backend.clear_session()
    empty = held_bytes()
    teacher = teacher_of(size)
    if int8:
        teacher.quantize("int8")
    alone = count_bytes(teacher.weights)
    distiller = kd.DMMDDistiller(teacher, steps=CALLS, adapters=rank)
    distiller.compile()
    weights = count_bytes(distiller.weights)
    optimizer = count_bytes(distiller.optimizer.variables)
    held = held_bytes()
    name = "all weights" if rank is None else f"adapters of rank {rank}"
    return {
        "training": name + (" beside int8" if int8 else ""),
        "parameters": int(sum(np.prod(v.shape) for v in teacher.weights)),
        "trained": int(sum(np.prod(v.shape) for v in distiller.trainable_variables)),
        "teacher MiB": alone / MIB,
        "weights MiB": weights / MIB,
        "optimizer MiB": optimizer / MIB,
        "held MiB": None if held is None else (held - empty) / MIB,
        "over the teacher alone": (weights + optimizer) / alone,
    }


def bytes_table(size, rank):
    """Rows for adapters, for adapters beside integers, and for all weights."""
    rows = [
        measure_bytes(size, rank),
        measure_bytes(size, rank, int8=True),
        measure_bytes(size, None),
    ]
    common.print_table(rows, BYTES)
    return rows


# Quality ----------------------------------------------------------------------------------------------


class Digits:
    """Real images, and the Fréchet distance to them."""

    def __init__(self, args):
        (train, _), (test, _) = kd.datasets.load_digits()
        self.rows, self.samples = train, args.samples
        self.features = kd.ImageFeatures.from_preset("digits_features")
        self.reference = self.features.statistics(np.concatenate([train, test]))

    def score(self, model, seed):
        drawn = model.generate(self.samples, steps=CALLS, seed=seed, verbose=0)
        distance = kd.metrics.frechet_distance(self.features.statistics(drawn), self.reference)
        return {"frechet": distance}


class Speeches:
    """State of the Union addresses, and what can be said of a text like them."""

    def __init__(self, args):
        teacher = kd.from_preset(TEACHERS["sotu"])
        texts, _ = kd.datasets.load_sotu(args.path, download=args.path is None)
        texts = [kd.datasets.text8(text) for text in texts]
        self.rows = kd.datasets.pack(texts, teacher.tokenizer, teacher.length)
        self.words = {word for text in texts for word in text.split()}
        self.samples, self.tokenizer = max(2, args.samples // 10), teacher.tokenizer
        self.judge = kd.metrics.CausalReference.from_folder("sotu_chars_reference")

    def score(self, model, seed):
        drawn = model.generate(self.samples, steps=CALLS, seed=seed, verbose=0)
        texts = self.tokenizer.decode(drawn)
        return {
            "known_words": kd.metrics.known_words(texts, self.words)[0],
            "entropy": kd.metrics.unigram_entropy(drawn)[0],
            "bits": kd.metrics.bits_per_character(texts, self.judge)[0],
        }


DATA = {"digits": Digits, "sotu": Speeches}


def distil(args, rows, teacher, rank, seed, place):
    """The student of some rounds, and the minutes that they took here."""
    keras.utils.set_random_seed(seed)
    distiller = kd.DMMDDistiller(teacher, steps=CALLS, adapters=rank, seed=seed)
    rate = args.learning_rate if rank is None else args.adapter_rate
    distiller.compile(
        **kd.annealed_optimizers(args.rounds, rate),
        jit_compile=keras.backend.backend() != "torch",
    )
    epoch = min(25, args.rounds)
    start = time.time()
    distiller.fit(
        rows,
        batch_size=args.batch_size,
        steps_per_epoch=epoch,
        epochs=args.rounds // epoch,
        verbose=2,
        callbacks=[kd.callbacks.BackupAndResume(os.path.join(place, "backup"))],
    )
    return distiller.student, (time.time() - start) / 60


def quality_table(args):
    """A row for each data set, way of training, and seed; those that are done are read."""
    known = os.path.join(args.folder, "arguments.json")
    os.makedirs(args.folder, exist_ok=True)
    left_out = ("quality", "seeds", "path", "folder", "results")
    asked = {name: value for name, value in vars(args).items() if name not in left_out}
    if os.path.exists(known):
        with open(known) as file:
            if json.load(file) != asked:
                raise ValueError(f"{args.folder!r} holds a run with other arguments: see {known!r}.")
    with open(known, "w") as file:
        json.dump(asked, file, indent=1)
    rows = []
    for name in args.quality:
        data = functools.cache(functools.partial(DATA[name], args))  # read where a row is made
        for seed in range(args.seeds):
            for rank in (args.rank, None):
                way = "all weights" if rank is None else f"adapters of rank {rank}"
                place = os.path.join(args.folder, f"{name}, {way}, seed {seed}")

                def make():
                    teacher = kd.from_preset(TEACHERS[name])  # noqa: B023
                    student, minutes = distil(args, data().rows, teacher, rank, seed, place)  # noqa: B023
                    student.save_to_preset(os.path.join(place, "student"))  # noqa: B023
                    row = {"data": name, "training": way, "seed": seed}  # noqa: B023
                    row |= {"minutes": round(minutes, 2)}
                    row |= {"trained": int(sum(np.prod(v.shape) for v in student.trainable_variables))}
                    return row | data().score(student, seed)  # noqa: B023

                rows.append(common.read_or_make(place + ".json", make))
                common.print_table(rows[-1:], QUALITY)
    common.print_table(rows, QUALITY)
    return rows


def main(argv=None, size=None):
    args = parse(argv)
    if args.quality:
        if not args.folder:
            raise ValueError("`--quality` needs a `--folder` to go on in.")
        rows = quality_table(args)
        return common.write_json("adapters_quality", rows, vars(args), args.results)
    size = size or MINI_LM
    settings = {"rank": args.rank, "backbone": size}
    return common.write_json("adapters", bytes_table(size, args.rank), settings, args.results)


if __name__ == "__main__":
    main()
