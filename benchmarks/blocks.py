"""What a block costs in block-autoregressive generation, by the number of blocks before it.

    KERAS_BACKEND=jax python -m benchmarks.blocks

`generate` with its cache, and the same sampler without one, which reads all that is written anew at
every step. With the cache the time a block should not depend on the number of blocks; without it, it
grows with them.
"""

import argparse
import statistics

import numpy as np
from keras import ops

import keras_dmmd as kd
from benchmarks import common
from keras_dmmd import backend, random
from keras_dmmd.conditions import NOTHING, Conditions

COLUMNS = ["blocks", "ours_ms", "other_ms", "ours_ms_a_block", "other_ms_a_block", "ratio"]
VOCABULARY = 27


def build(size, hidden, layers):
    denoiser = kd.BlockDenoiser(
        VOCABULARY, block_size=size, hidden_dim=hidden, num_layers=layers, num_heads=hidden // 32
    )
    draws = np.random.RandomState(0)
    for variable in denoiser.weights:  # those that start at zero too
        variable.assign(0.05 * draws.normal(size=variable.shape))
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(VOCABULARY), length=size)


def without_cache(model, steps):
    """The same sampler, which reads all that is written anew at every step."""
    size = model.capabilities.block_size

    def step(z, written, t, s, key):
        noise_key, token_key, posterior_key = random.split(key, 3)
        times = [ops.broadcast_to(time, (z.shape[0],)) for time in (t, s)]
        conditions, length = NOTHING, written.shape[1]
        if length:
            cache = model.denoiser.empty_cache(z.shape[0], length + size)
            cache = model.denoiser.extend(cache, written, ops.convert_to_tensor(0))
            conditions = Conditions(cache=cache, start=ops.convert_to_tensor(length))
        logits = model.logits(z, times[0], conditions, seed=noise_key)
        log_probs = model.process.log_mean(logits, z, times[0])
        x = random.categorical(log_probs, token_key)
        return model.process.sample_posterior(x, z, times[1], times[0], posterior_key)

    step = backend.compile_inference(step, model.variables, backend.COMPILES)
    grid = [ops.convert_to_tensor(t) for t in np.linspace(1, 0, steps + 1, dtype="float32")]

    def generate(n, blocks):
        keys = random.split(random.as_key(0), steps)
        written = ops.zeros((n, 0), "int32")
        for _ in range(blocks):
            z = model.process.prior((n, size), keys[0])
            for i in range(steps):
                z = step(z, written, grid[i], grid[i + 1], keys[i])
            written = ops.concatenate([written, z], axis=1)
        return written

    return generate


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--block-size", type=int, default=16)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument(
        "--compared", type=int, default=8, help="blocks up to which the other is timed: it takes long"
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default=common.RESULTS)
    args = parser.parse_args(argv)
    model = build(args.block_size, args.hidden, args.layers)
    other = without_cache(model, args.steps)
    rows = []
    for blocks in args.blocks:

        def cached(blocks=blocks):
            model.generate(
                args.batch_size, steps=args.steps, length=blocks * args.block_size, verbose=0
            )
            return ()

        if blocks <= args.compared:
            timing = common.compare(
                cached, lambda blocks=blocks: other(args.batch_size, blocks), args.repeats, warmup=1
            )
        else:
            times = [common.seconds([cached])[0] for _ in range(args.repeats + 1)][1:]
            timing = {"ours_ms": 1e3 * statistics.median(times), "repeats": args.repeats}
        sides = [side for side in ("ours", "other") if f"{side}_ms" in timing]
        each = {f"{side}_ms_a_block": timing[f"{side}_ms"] / blocks for side in sides}
        rows.append({"blocks": blocks, **timing, **each})
    common.print_table(rows, COLUMNS)
    return common.write_json("blocks", rows, vars(args), args.folder)


if __name__ == "__main__":
    main()
