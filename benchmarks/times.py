"""How long things take: processor seconds of a training step and of a sample.

Of networks that the docs show.

    python -m benchmarks.times

Processor time, over all threads, of what is compiled already: what an idle core would take, but for the
caches that other work on the machine claims.
"""

import argparse
import statistics
import time

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import print_table, write_json

# Of README and docs/text.md: vocabulary, tokens, arguments of the network.
NETWORKS = {
    "tiny, 8×8 images of 17 levels": (17, 64, {"grid": (8, 8)}),
    "tiny, 28×28 images of 17 levels": (17, 784, {"grid": (28, 28)}),
    "tiny, 128 characters of 27": (27, 128, {}),
    "tiny, 128 tokens of 2,048": (2048, 128, {}),
}
STUDENTS = ["digits_masked_student", "sotu_chars_student", "moses_student"]


def processor_seconds(work, repeats):
    """The median of so many repetitions, after one that compiles."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def of_training(name, batch_size, steps, repeats):
    """Seconds of an update of a teacher, and of a round of its distillation."""
    vocabulary, length, options = NETWORKS[name]
    denoiser = kd.Denoiser(vocabulary, **options, **kd.Denoiser.sizes["tiny"])
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(vocabulary), length=length)
    rows = np.random.default_rng(0).integers(0, vocabulary, (batch_size * steps, length))
    found = {"network": name, "parameters": teacher.count_params()}
    distiller = kd.DMMDDistiller(teacher.copy(), steps=8)
    for what, model in (("update", teacher), ("round", distiller)):
        model.compile()
        work = processor_seconds(
            lambda model=model: model.fit(rows, batch_size=batch_size, verbose=0), repeats
        )
        found[f"seconds_per_{what}"] = work / steps
        found[f"rows_per_second_{what}"] = batch_size * steps / work
    return found


def of_sampling(name, samples, repeats):
    """Seconds of a sample of a student that ships, with the calls it was made for."""
    student = kd.from_preset(name)
    work = processor_seconds(lambda: student.generate(samples, verbose=0), repeats)
    return {"student": name, "calls": student.steps, "seconds_per_sample": work / samples}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--students", nargs="*", default=STUDENTS)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of one measurement")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--path", help="a folder for the results, elsewhere")
    args = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    training = [of_training(name, args.batch_size, args.steps, args.repeats) for name in args.networks]
    print_table(training, list(training[0]))
    sampling = [of_sampling(name, args.samples, args.repeats) for name in args.students]
    if sampling:
        print_table(sampling, list(sampling[0]))
    place = {"folder": args.path} if args.path else {}
    write_json("times", {"training": training, "sampling": sampling}, vars(args), **place)


if __name__ == "__main__":
    main()
