"""What the package costs over the bare work: sampling, a D-MMD step, importing.

    KERAS_BACKEND=jax python -m benchmarks.speed

Every figure is a ratio of two things timed in turns within one run: `generate` over bare forward
passes of its network; one D-MMD step over the sum of its parts, each compiled alone; on JAX, one D-MMD
step over the same step written by hand; `import keras_dmmd` after `import keras`.
"""

import argparse
import statistics
import subprocess
import sys

import keras

from benchmarks import common, parts

PARTS = ["import", "generate", "step", "by hand"]
COLUMNS = ["what", "ours_ms", "other_ms", "ratio", "ratio_min", "ratio_max"]


def generate(distiller, x, step_counts, repeats):
    """`generate(steps=k)` over k compiled forward passes of the same network, same batch."""
    model, n = distiller.student, x.shape[0]
    bare = parts.chained_forward(model, x, keras.backend.backend() != "torch")
    rows = []
    for k in step_counts:

        def passes(k=k):
            t = None
            for _ in range(k):
                logits, t = bare(t)
            return logits

        def ours(k=k):
            return model.generate(n, steps=k, seed=0, batch_size=n, verbose=0)

        row = {"what": f"generate, {k} steps / {k} forward passes"}
        rows.append({**row, **common.compare(_numpy_result(ours), passes, repeats)})
    return rows


def _numpy_result(function):
    """`generate` returns numpy: there is nothing left to wait for."""

    def run():
        function()
        return ()

    return run


def train_step(distiller, x, repeats):
    """One step over the sum of its parts."""
    pieces = parts.step_parts(distiller, x)
    timing = common.compare(parts.stepper(distiller, x), list(pieces.values()), repeats)
    timing["other_parts_ms"] = dict(zip(pieces, timing["other_parts_ms"], strict=True))
    return [{"what": "D-MMD step / its parts", **timing}]


def by_hand(distiller, x, repeats):
    """One step over the same step in pure JAX; also their losses, which must agree."""
    from benchmarks import pure_jax

    function, state = pure_jax.make_step(distiller)

    def other():
        nonlocal state
        losses, state = function(state, x)
        return losses

    ours = parts.stepper(distiller, x)
    timing = common.compare(ours, other, repeats)
    losses = {
        name: {loss: float(logs[loss]) for loss in ("critic_loss", "student_loss")}
        for name, logs in (("mean so far, ours", ours()), ("last, by hand", other()))
    }
    return [{"what": "D-MMD step / by hand in JAX", **timing, "losses": losses}]


def imports(repeats):
    """What `import keras_dmmd` adds to `import keras`, in fresh interpreters."""
    code = (
        "import time; a = time.perf_counter(); import keras; b = time.perf_counter(); "
        "import keras_dmmd; print(b - a, time.perf_counter() - b)"
    )
    keras_alone, added = [], []
    for _ in range(repeats + 1):
        run = [sys.executable, "-c", code]
        output = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        first, second = map(float, output.split()[-2:])
        keras_alone.append(first)
        added.append(second)
    keras_alone, added = keras_alone[1:], added[1:]  # the first one fills the disk cache
    ratios = [1.0 + ours / other for ours, other in zip(added, keras_alone, strict=True)]
    return [
        {
            "what": "import keras and keras_dmmd / import keras",
            "ours_ms": 1e3 * (statistics.median(keras_alone) + statistics.median(added)),
            "other_ms": 1e3 * statistics.median(keras_alone),
            "added_ms": 1e3 * statistics.median(added),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "repeats": repeats,
        }
    ]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", choices=sorted(parts.PROCESSES), default="masked")
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--import-repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=common.RESULTS, help="of the result file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args(argv)
    distiller = parts.build_distiller(args.process, args.hidden, args.layers, seed=args.seed)
    x = parts.batch(args.batch_size, args.seed)
    rows = []
    if "import" in args.parts:
        rows += imports(args.import_repeats)
    if "generate" in args.parts:
        rows += generate(distiller, x, args.steps, args.repeats)
    if "step" in args.parts:
        rows += train_step(distiller, x, args.repeats)
    if "by hand" in args.parts and keras.backend.backend() == "jax" and args.process == "masked":
        rows += by_hand(distiller, x, args.repeats)
    common.print_table(rows, COLUMNS)
    for row in rows:
        if isinstance(row.get("other_parts_ms"), dict):
            common.print_table(
                [{"part": name, "ms": ms} for name, ms in row["other_parts_ms"].items()], ["part", "ms"]
            )
        if "losses" in row:
            print("losses:", row["losses"])
    common.write_json("speed", rows, vars(args), args.folder)


if __name__ == "__main__":
    main()
