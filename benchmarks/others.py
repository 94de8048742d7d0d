"""Other libraries' samplers of masked tokens beside ours: the same network, on Torch.

    pip install --no-deps flow_matching diffusers  # and what they ask for
    KERAS_BACKEND=torch python -m benchmarks.others

A masked network of random weights. Theirs: flow_matching's `MixtureDiscreteEulerSolver`, from masks
along a linear path, beside ancestral sampling, and diffusers' `AmusedScheduler`, whose order is by
confidence, beside our confidence sampler. Seconds of theirs over ours, in turns; both make as many
network calls.
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.common import compare, print_table, write_json
from benchmarks.vocabulary import SIZE, on_host


def network(words, length, size):
    """A model with random weights everywhere."""
    keras.utils.set_random_seed(0)
    denoiser = kd.Denoiser(words, **size)
    rng = np.random.default_rng(0)
    for variable in denoiser.weights:
        if not keras.ops.convert_to_numpy(variable).any():
            variable.assign(0.02 * rng.normal(size=variable.shape))
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(words), length=length)


def flow_matching(model, rows, length, steps):
    """A function that samples with flow_matching's solver."""
    import torch
    from flow_matching.path import MixtureDiscreteProbPath
    from flow_matching.path.scheduler import PolynomialConvexScheduler
    from flow_matching.solver import MixtureDiscreteEulerSolver
    from flow_matching.utils import ModelWrapper

    words = model.process.vocabulary_size

    class Wrapped(ModelWrapper):
        def forward(self, x, t, **extras):
            # Its time runs from noise to data. The mask is a word of the path that is never predicted.
            probs = torch.softmax(model.logits(x.to(torch.int32), 1.0 - t), dim=-1)
            return torch.nn.functional.pad(probs, (0, 1))

    path = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=1.0))
    solver = MixtureDiscreteEulerSolver(Wrapped(model), path, vocabulary_size=words + 1)
    # Not up to 1 exactly, where the rate of its path has a pole.
    grid = torch.linspace(0.0, 1.0 - 1e-4, steps + 1)

    def sample():
        start = torch.full((rows, length), words, dtype=torch.long)
        return solver.sample(start, step_size=None, time_grid=grid)

    return sample


def diffusers(model, rows, length, steps):
    """A function that samples with diffusers' scheduler."""
    import torch
    from diffusers import AmusedScheduler

    mask = model.process.vocabulary_size
    scheduler = AmusedScheduler(mask_token_id=mask, masking_schedule="linear")

    @torch.no_grad()
    def sample():
        scheduler.set_timesteps(steps, temperature=(2, 0))
        z = torch.full((rows, length), mask, dtype=torch.long)
        for i, step in enumerate(scheduler.timesteps):
            t = torch.full((rows,), 1.0 - i / steps)
            logits = model.logits(z.to(torch.int32), t)
            z = scheduler.step(logits, step, z).prev_sample
        return z

    return sample


THEIRS = {
    "flow_matching": (flow_matching, "ancestral"),
    "diffusers": (diffusers, "confidence"),
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", nargs="+", type=int, default=[256, 50_257])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--libraries", nargs="*", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--size", type=dict, default=SIZE, help=argparse.SUPPRESS)
    parser.add_argument("--path", default=None, help="folder of the result file")
    args = parser.parse_args(argv)
    if keras.backend.backend() != "torch":
        raise SystemExit("Their samplers run on Torch: set KERAS_BACKEND=torch.")
    found = []
    for words in args.words:
        model = network(words, args.length, args.size)
        for name in args.libraries:
            make, sampler = THEIRS[name]
            theirs = make(model, args.rows, args.length, args.steps)
            sample = theirs()
            assert sample.shape == (args.rows, args.length) and int(sample.max()) < words
            settings = {"steps": args.steps, "sampler": sampler, "seed": 0, "verbose": 0}
            ours = on_host(lambda: model.generate(args.rows, **settings))  # noqa: B023
            timed = compare(on_host(theirs), ours, repeats=args.repeats, warmup=1)
            timed.pop("other_parts_ms")
            timed["theirs_ms"], timed["ours_ms"] = timed.pop("ours_ms"), timed.pop("other_ms")
            found.append({"library": name, "words": words, "our sampler": sampler, **timed})
            print(found[-1], flush=True)
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json("others", found, {k: v for k, v in vars(args).items() if k != "size"}, **kwargs)
    if found:
        print_table(found, list(found[0]))
    return found


if __name__ == "__main__":
    main()
