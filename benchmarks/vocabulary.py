"""What a large vocabulary costs, in tiles and in whole tables: memory, time of training and sampling.

    KERAS_BACKEND=jax python -m benchmarks.vocabulary --plans 1024 --length 128

A masked network of random weights. Plans: bytes that XLA plans for temporaries of a compiled update of
a teacher and of a round of D-MMD, in tables of logits (rows · length · words float32 numbers), without
running them (JAX): in tiles whose blocks are made again for gradients (`remat`), in tiles, and whole.
Times: the same updates at a shorter length, each over those with whole tables, in turns.
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks import parts
from benchmarks.common import compare, print_table, write_json
from keras_dmmd import backend

SIZE = {"hidden_dim": 256, "num_layers": 4, "num_heads": 4}
# The transformer of MDLM: about 170 million weights with 50,257 words.
MDLM = {
    "hidden_dim": 768,
    "num_layers": 12,
    "num_heads": 12,
    "cond_dim": 128,
    "norm_scale": True,
    "time_conditioning": False,
}
NETWORKS = {"small": SIZE, "mdlm": MDLM}


def models(words, length, tiles, size):
    """A teacher and a distiller for 8 calls, compiled."""
    keras.utils.set_random_seed(0)
    denoiser = kd.Denoiser(words, **size)
    teacher = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(words), length=length, tiles=tiles)
    distiller = kd.DMMDDistiller(teacher, steps=8)
    for model in (teacher, distiller):
        model.compile(jit_compile=keras.backend.backend() != "torch")
        model.optimizer.build(model.trainable_variables)
    return {"teacher": teacher, "D-MMD": distiller}


def on_host(function):
    """A function whose result has come to the host when it returns: a tensor to wait for stands in."""

    def run():
        function()
        return keras.ops.zeros(())

    return run


# Tiles, and whether blocks are made again for gradients.
VARIANTS = {"tiles, remat": ("auto", True), "tiles": ("auto", False), "whole": (False, False)}


def plans(args, ids):
    """Temporaries of each update in tables of logits, by `VARIANTS`."""
    found = []
    for variant in args.variants:
        tiles, remat = VARIANTS[variant]
        size = args.size | {"remat": remat}
        for name, model in models(args.words, args.plans, tiles, size).items():
            size = parts.temporaries(parts.lower_train(model, ids(args.plans)))
            tables = size / (4.0 * args.rows * args.plans * args.words)
            found.append({"update": name, "variant": variant, "MiB": size / 2**20, "tables": tables})
            print(found[-1], flush=True)
    return found


def times(args, ids):
    """Seconds of each update over those with whole tables."""
    found, x = [], ids(args.length)
    whole = models(args.words, args.length, False, args.size)
    for variant in args.variants:
        tiles, remat = VARIANTS[variant]
        if not tiles:
            continue
        for name, model in models(args.words, args.length, tiles, args.size | {"remat": remat}).items():
            own = [on_host(lambda m=m: m.train_on_batch(x)) for m in (model, whole[name])]
            timed = compare(*own, repeats=args.repeats)
            timed.pop("other_parts_ms")
            found.append({"update": name, "variant": variant, **timed})
            print(found[-1], flush=True)
    return found


def generation(args, ids):
    """`generate` over as many bare compiled passes that make every logit, in turns."""
    found = []
    for tiles in args.tiles:
        model = models(args.words, args.length, tiles, args.size)["teacher"]
        z, t = np.full((args.rows, args.length), args.words), np.full(args.rows, 0.5, "float32")
        jit = backend.COMPILES
        bare = backend.compile_inference(lambda z, t: model.logits(z, t), model.variables, jit)  # noqa: B023
        z, t = keras.ops.convert_to_tensor(z, "int32"), keras.ops.convert_to_tensor(t)
        timed = compare(
            on_host(lambda: model.generate(args.rows, steps=args.steps, seed=0, verbose=0)),  # noqa: B023
            [lambda: bare(z, t)] * args.steps,  # noqa: B023
            repeats=args.repeats,
            warmup=1,
        )
        timed.pop("other_parts_ms")
        found.append({"calls": args.steps, "tiles": tiles, **timed})
        print(found[-1], flush=True)
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=50_257)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--plans", type=int, default=0, help="length of rows whose memory is planned")
    parser.add_argument("--length", type=int, default=128, help="of rows that are timed, or 0")
    parser.add_argument("--steps", type=int, default=8, help="network calls of a sample")
    parser.add_argument("--no-training", action="store_true", help="time sampling alone")
    parser.add_argument("--tiles", nargs="*", default=["auto", False], help="of samples")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--name", default="vocabulary", help="of the result file")
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--path", default=None, help="folder of the result file")
    args = parser.parse_args(argv)
    args.size = NETWORKS[args.network]
    rng = np.random.default_rng(0)

    def ids(length):
        return rng.integers(0, args.words, (args.rows, length)).astype("int32")

    found = {"plans": plans(args, ids) if args.plans else []}
    if args.length:
        found["generation"] = generation(args, ids) if args.tiles else []
        found["training"] = [] if args.no_training else times(args, ids)
    kwargs = {} if args.path is None else {"folder": args.path}
    settings = {k: v for k, v in vars(args).items() if k not in ("size", "name")}
    write_json(args.name, found, settings, **kwargs)
    for rows in found.values():
        if rows:
            print_table(rows, list(rows[0]))
    return found


if __name__ == "__main__":
    main()
