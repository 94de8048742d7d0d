"""Two versions of this library beside each other: processor time of the same work, in turns.

    git worktree add ../before 79be22f
    KERAS_BACKEND=jax python -m benchmarks.versions --before ../before

A process for each version, one thread each, runs `generate` with 8 and 32 calls and a short
distillation, A B A B ...; the ratios of pairs hold when the speed of the machine drifts. Random
weights, seed 0. With `--network minilm` it is a round of D-MMD with a KerasHub BERT of MiniLM's size,
30,522 words, rows of 32 tokens.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks.common import print_table, write_json

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# sentence-transformers/all-MiniLM-L6-v2
MINI_LM = {
    "vocabulary_size": 30522,
    "num_layers": 6,
    "num_heads": 12,
    "hidden_dim": 384,
    "intermediate_dim": 1536,
    "max_sequence_length": 512,
}
JOBS = {
    "tiny": ("generate, 8 calls", "generate, 32 calls", "distillation, 4 rounds"),
    "minilm": ("distillation, 1 round",),
}


def tiny(kd, rows):
    """What each job does, with a small network for digits."""
    denoiser = kd.Denoiser(17, num_states=18, grid=(8, 8), **kd.Denoiser.sizes["tiny"])
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(17), length=64)
    data = np.random.default_rng(0).integers(0, 17, (4 * rows, 64))
    distiller = compiled(kd.DMMDDistiller(model, steps=8))
    drawn = {"seed": 0, "batch_size": rows, "verbose": 0}
    return (
        lambda: model.generate(rows, steps=8, **drawn),
        lambda: model.generate(rows, steps=32, **drawn),
        lambda: distiller.fit(data, batch_size=rows, verbose=0),
    )


def minilm(kd, rows):
    import keras_hub

    from keras_dmmd.models.hub import HubDenoiser

    denoiser = HubDenoiser(keras_hub.models.BertBackbone(**MINI_LM), mask_token_id=103)
    words = MINI_LM["vocabulary_size"]
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(words), length=32)
    data = np.random.default_rng(0).integers(0, words, (rows, 32)).astype("int32")
    distiller = compiled(kd.DMMDDistiller(model, steps=8))
    return (lambda: distiller.train_on_batch(data),)


def compiled(distiller):
    import keras

    distiller.compile(jit_compile=keras.backend.backend() != "torch")
    return distiller


def child(network, rows):
    """Do what is asked for, a line each, and answer with the seconds that it took."""
    import keras

    import keras_dmmd as kd

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    keras.utils.set_random_seed(0)
    jobs = dict(zip(JOBS[network], {"tiny": tiny, "minilm": minilm}[network](kd, rows), strict=True))
    for job in jobs.values():  # what is compiled
        job()
    for line in itertools.chain(["ready"], sys.stdin):
        start = time.process_time()
        jobs.get(line.strip(), lambda: None)()
        print(time.process_time() - start, file=answers, flush=True)


def begin(tree, network, rows):
    """A process that works with the library in a folder, once it has compiled."""
    env = {**os.environ, "PYTHONPATH": tree, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    env.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    command = [sys.executable, os.path.abspath(__file__)]
    command += ["--child", network, "--rows", str(rows)]
    # In the folder, beside whose `benchmarks` this script's own is not looked for.
    code = f"import runpy, sys; sys.argv = {command[1:]!r}; sys.path.append({HERE!r}); "
    code += f"runpy.run_path({command[1]!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tree,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if not process.stdout.readline():
        raise SystemExit(f"The version in {tree} ended.")
    return process


def ask(process, job):
    process.stdin.write(job + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", help="a folder with the other version")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--network", choices=JOBS, default="tiny")
    parser.add_argument("--path", default=None, help="folder of the result file")
    parser.add_argument("--child", choices=JOBS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        return child(args.child, args.rows)
    places = (HERE, os.path.abspath(args.before))
    now, before = (begin(place, args.network, args.rows) for place in places)
    found = []
    for job in JOBS[args.network]:
        pairs = [(ask(now, job), ask(before, job)) for _ in range(args.repeats)]
        ratios = [a / b for a, b in pairs]
        row = {"what": job, "ratio": statistics.median(ratios)}
        row |= {"least": min(ratios), "greatest": max(ratios)}
        found.append(row | {"seconds_before": statistics.median(b for _, b in pairs)})
    for process in (now, before):
        process.stdin.close()
        process.wait()
    kwargs = {} if args.path is None else {"folder": args.path}
    settings = {name: value for name, value in vars(args).items() if name not in ("before", "child")}
    write_json("versions" if args.network == "tiny" else "versions_minilm", found, settings, **kwargs)
    print_table(found, list(found[0]))
    return found


if __name__ == "__main__":
    main()
