"""Exactness and cost of `keras_dmmd.random.categorical` beside the plain ways to draw.

    KERAS_BACKEND=jax python -m benchmarks.categorical --draws 1e9

Three parts: how often events of probability 1e-8, 1e-7 and 1e-6 come; the entropy of what a masked
sampler of 256 steps draws from a distribution that is known; the time of a draw. Needs scipy.
"""

import argparse
import functools

import keras
import numpy as np
from keras import ops
from scipy import stats

import keras_dmmd as kd
from benchmarks import common
from keras_dmmd import backend

COMMON = (1e-3, 0.1, 0.2, 0.3)
XLA = keras.backend.backend() != "torch"
KERAS_SEED = keras.random.SeedGenerator(0)


def gumbel(log_probs, seed):
    """The Gumbel-max trick with the uniform draws of float32 as they stand."""
    u = kd.random.uniform(ops.shape(log_probs), seed)
    return ops.cast(ops.argmax(log_probs - ops.log(-ops.log(u)), axis=-1), "int32")


def plain(log_probs, seed):
    """Keras's own, `(rows, K)`; its stream is set by `set_seed`, since it takes no key."""
    del seed
    return keras.random.categorical(log_probs, 1, dtype="int32", seed=KERAS_SEED)[:, 0]


WAYS = {"keras_dmmd": kd.random.categorical, "keras.random": plain, "float32 Gumbel": gumbel}


def set_seed(seed, index):
    KERAS_SEED.state.assign(np.array([seed, index]))
    return backend.key([seed, index])


def compiled(function, key, *args):
    """`function` compiled with XLA where it can be, and whether it is."""
    if XLA:
        try:
            fast = backend.compile_inference(function, [KERAS_SEED.state], True)
            backend.synchronize(fast(*args, key))
            return fast, True
        except Exception as error:  # not every operation of TensorFlow has an XLA kernel
            if keras.backend.backend() == "jax":
                raise
            print(f"(without XLA: {str(error).splitlines()[0][:90]})")
    return backend.compile_inference(function, [KERAS_SEED.state], False), False


# Rare events --------------------------------------------------------------------------------------


def poisson_interval(count, level=0.99):
    """Garwood's exact interval for the mean of a Poisson variable that came out as `count`."""
    tail = (1.0 - level) / 2.0
    low = stats.chi2.ppf(tail, 2 * count) / 2.0 if count else 0.0
    return float(low), float(stats.chi2.isf(tail, 2 * count + 2) / 2.0)


def rare_events(draws, chunk, seed, ways, rare):
    """Counts of the events `rare` beside common ones; those of equal probability are added up."""
    log_probs = np.log([*rare, *COMMON, 1.0 - sum(rare) - sum(COMMON)]).astype("float32")
    chunks = max(1, round(draws / chunk))
    rows = []
    for name in ways:
        way = WAYS[name]

        def count(key, way=way):
            table = ops.broadcast_to(ops.convert_to_tensor(log_probs), (chunk, len(log_probs)))
            x = way(table, key)
            return ops.stack([ops.sum(ops.cast(ops.equal(x, k), "int32")) for k in range(len(rare))])

        step, xla = compiled(count, set_seed(seed, 0))
        total = np.zeros(len(rare), "int64")
        for i in range(chunks):
            total += ops.convert_to_numpy(step(set_seed(seed, i)))
            if (i + 1) % max(1, chunks // 10) == 0:
                print(f"  {name}: {(i + 1) * chunk:.3g} draws, counts {total.tolist()}", flush=True)
        for p in sorted(set(rare)):
            same = np.array(rare) == p
            seen = int(total[same].sum())
            low, high = poisson_interval(seen)
            expected = float(p * same.sum() * chunks * chunk)
            rows.append(
                {
                    "way": name,
                    "probability": p,
                    "draws": chunks * chunk,
                    "expected": expected,
                    "count": seen,
                    "low_99": low,
                    "high_99": high,
                    "inside": bool(low <= expected <= high),
                    "xla": xla,
                }
            )
    common.print_table(
        rows, ["way", "probability", "draws", "expected", "count", "low_99", "high_99", "inside"]
    )
    return rows


# A sampler's entropy ------------------------------------------------------------------------------


class Fixed(keras.layers.Layer):
    """A denoiser that always says the same: the data are independent tokens."""

    def __init__(self, log_probs):
        super().__init__()
        self.log_probs = log_probs.astype("float32")
        self.vocabulary_size = len(log_probs)
        self.num_states = len(log_probs) + 1
        self.built = True

    def call(self, z_t, t):
        return ops.broadcast_to(
            ops.convert_to_tensor(self.log_probs), (*ops.shape(z_t), self.vocabulary_size)
        )


def by_generate(log_probs, shape, steps, seed):
    """`DiffusionModel.generate`."""
    model = kd.DiffusionModel(Fixed(log_probs), kd.MaskedDiffusion(len(log_probs)), length=shape[1])
    return model.generate(shape[0], steps=steps, seed=seed, verbose=0)


def by_posterior(way, log_probs, shape, steps, seed):
    """The textbook step: draw `z_s` from the posterior over the K tokens and the mask, in one go."""
    K = len(log_probs)
    rows = max(1, 2**24 // (shape[1] * K))  # at once, as much as `generate` takes

    def step(z, stay, key):
        stay = ops.reshape(stay, (1, 1, 1))
        fixed = ops.reshape(ops.convert_to_tensor(log_probs.astype("float32")), (1, 1, K))
        table = ops.concatenate([fixed + ops.log(1.0 - stay), ops.log(stay)], axis=-1)
        draws = way(ops.broadcast_to(table, (*ops.shape(z), K + 1)), key)
        return ops.where(ops.equal(z, K), draws, z)

    step = backend.compile_inference(step, [], XLA)
    chunks = []
    for c in range(-(-shape[0] // rows)):
        z = ops.full((min(rows, shape[0]), shape[1]), K, dtype="int32")
        for i, key in enumerate(kd.random.split(backend.key([seed, c]), steps)):
            t = 1.0 - i / steps
            z = step(z, ops.convert_to_tensor(np.float32(max(0.0, (t - 1.0 / steps) / t))), key)
        chunks.append(ops.convert_to_numpy(z))
    return np.concatenate(chunks)[: shape[0]]


def entropy_rows(tokens, steps, vocabulary, seed, length=64):
    """Zipf's law over a vocabulary: half of the mass lies on rare tokens."""
    p = 1.0 / np.arange(1, vocabulary + 1)
    log_probs = np.log(p / p.sum())
    exact = float(-(np.exp(log_probs) * log_probs).sum())
    shape = (max(1, tokens // length), length)
    rows = []
    by_gumbel = functools.partial(by_posterior, gumbel)
    for name, draw in (
        ("keras_dmmd: generate", by_generate),
        ("keras_dmmd: posterior with mask", functools.partial(by_posterior, kd.random.categorical)),
        ("float32 Gumbel: posterior with mask", by_gumbel),
    ):
        x = draw(log_probs, shape, steps, seed)
        if x.max() >= vocabulary:
            raise RuntimeError(f"{name}: masks are left")
        counts = np.bincount(x.ravel(), minlength=vocabulary)
        n = counts.sum()
        q = counts[counts > 0] / n
        plug_in = -(q * np.log(q)).sum()
        entropy = plug_in + (len(q) - 1) / (2 * n)  # Miller and Madow's correction of the bias
        error = np.sqrt((q * np.log(q) ** 2).sum() - plug_in**2) / np.sqrt(n)  # delta method
        surprise = -log_probs[x.ravel()]  # its mean is the entropy, without bias, if x ~ p
        surprise_error = surprise.std() / np.sqrt(n)
        rows.append(
            {
                "sampler": name,
                "tokens": int(n),
                "exact": exact,
                "entropy": float(entropy),
                "error": float(error),
                "z": float((entropy - exact) / error),
                "surprise": float(surprise.mean()),
                "surprise_error": float(surprise_error),
                "surprise_z": float((surprise.mean() - exact) / surprise_error),
            }
        )
    common.print_table(rows, list(rows[0]))
    return rows


# Cost ---------------------------------------------------------------------------------------------


def cost_rows(shapes, repeats, seed):
    modes = {"jax": [True], "tensorflow": [True, False], "torch": [False]}[keras.backend.backend()]
    rows = []
    for shape in shapes:
        log_probs = ops.log_softmax(kd.random.normal(shape, seed), axis=-1)
        key = set_seed(seed, 1)
        for xla in modes:
            functions = []
            for way in (kd.random.categorical, plain):
                function, done = compiled(way, key, log_probs) if xla else (None, False)
                function = function or backend.compile_inference(way, [KERAS_SEED.state], False)
                functions.append((functools.partial(function, log_probs, key), done))
            (ours, ours_xla), (other, other_xla) = functions
            timing = common.compare(ours, other, repeats)
            row = {"rows": shape[0], "K": shape[1], "xla": ours_xla, "plain_xla": other_xla, **timing}
            rows.append(row)
    common.print_table(
        rows,
        ["rows", "K", "xla", "plain_xla", "ours_ms", "other_ms", "ratio", "ratio_min", "ratio_max"],
    )
    return rows


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=float, default=1e9)
    parser.add_argument("--chunk", type=int, default=2**20, help="draws at once")
    parser.add_argument("--tokens", type=int, default=2**16, help="samples of the entropy, in tokens")
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--large-rows", type=int, default=512, help="rows of the 50257 categories")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="of rare events"
    )
    parser.add_argument(
        "--rare",
        nargs="+",
        type=float,
        default=[1e-8, 1e-7, 1e-6],
        help="probabilities of the rare events; several equal ones tell more in fewer draws",
    )
    parser.add_argument("--parts", nargs="+", default=["rare", "entropy", "cost"])
    args = parser.parse_args(argv)
    results = {}
    if "rare" in args.parts:
        results["rare_events"] = rare_events(args.draws, args.chunk, args.seed, args.ways, args.rare)
    if "entropy" in args.parts:
        results["entropy"] = entropy_rows(args.tokens, args.steps, args.vocabulary, args.seed)
    if "cost" in args.parts:
        shapes = [(16384, 17), (16384, 256), (args.large_rows, 50257)]
        results["cost"] = cost_rows(shapes, args.repeats, args.seed)
    common.write_json("categorical", results, vars(args))


if __name__ == "__main__":
    main()
