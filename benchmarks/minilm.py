"""A round of D-MMD with a network of MiniLM's size: in tiles, of whole tables, and what spares passes.

    KERAS_BACKEND=jax python -m benchmarks.minilm

A KerasHub BERT of 22.7 million random weights over 30,522 words, masked, 32 rows of 32 tokens. Seconds
of a compiled round, each way over that of whole tables, in turns; and those of the matrix products
alone that a round in tiles cannot do without, as one after the other.
"""

import argparse

import keras
import numpy as np

import keras_dmmd as kd
from benchmarks.adapters import teacher_of
from benchmarks.common import compare, print_table, write_json
from benchmarks.versions import MINI_LM
from benchmarks.vocabulary import on_host

WAYS = {
    "tiles": {},
    "tiles, simultaneous": {"simultaneous": True},
    "tiles, adapters of rank 8": {"adapters": 8},
    "tiles, adapters, simultaneous": {"adapters": 8, "simultaneous": True},
}
PRODUCTS = "the products of a round in tiles, alone"


def round_of(tiles, size, rows, **options):
    """A function that makes one round."""
    keras.utils.set_random_seed(0)
    teacher = teacher_of(size)
    teacher.tiles = tiles
    distiller = kd.DMMDDistiller(teacher, steps=8, **options)
    distiller.compile(jit_compile=keras.backend.backend() != "torch")
    x = np.random.default_rng(0).integers(0, size["vocabulary_size"], (rows, 32)).astype("int32")
    return on_host(lambda: distiller.train_on_batch(x))


def products_of(size, rows):
    """A function that makes the matrix products of a round and nothing else.

    A forward pass has one for each kernel, gradients have two more. Critic: the student's forward pass,
    its own three; student: its own three, one each of teacher and critic. The head sees open tokens
    alone, which are half of all.
    """
    passes, tokens = 1 + 3 + 3 + 1 + 1, rows * 32
    width, inner = size["hidden_dim"], size["intermediate_dim"]
    layer = [(width, 3 * width), (width, width), (width, inner), (inner, width)]
    shapes = [(tokens, *kernel) for kernel in layer] * size["num_layers"]
    shapes.append((tokens // 2, width, size["vocabulary_size"]))
    rng = np.random.default_rng(0)

    def random(*shape):
        return keras.ops.convert_to_tensor(rng.normal(size=shape).astype("float32"))

    pairs = {shape: (random(*shape[:2]), random(*shape[1:])) for shape in shapes}

    def run():
        for shape in shapes * passes:
            found = keras.ops.matmul(*pairs[shape])
        return found

    return run


def main(argv=None, size=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--path", default=None, help="folder of the result file")
    args = parser.parse_args(argv)
    size = size or MINI_LM
    whole = round_of(False, size, args.rows)
    found = []
    for way in [*args.ways, PRODUCTS]:
        if way == PRODUCTS:
            own = products_of(size, args.rows)
        else:
            own = round_of("auto", size, args.rows, **WAYS[way])
        timed = compare(own, whole, repeats=args.repeats, warmup=1)
        timed.pop("other_parts_ms")
        found.append({"round": way, **timed})
        print(found[-1], flush=True)
    kwargs = {} if args.path is None else {"folder": args.path}
    write_json("minilm", found, vars(args), **kwargs)
    print_table(found, list(found[0]))
    return found


if __name__ == "__main__":
    main()
