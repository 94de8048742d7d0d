"""Peak memory of a D-MMD step beside that of its parts.

    KERAS_BACKEND=jax python -m benchmarks.memory

JAX: what XLA plans for temporaries in the compiled step, in the same step written by hand and in each
part. Torch and TensorFlow on a GPU: the allocator's peak. On CPU: the peak resident size of fresh
processes that build the same networks and then run the step, the parts, or nothing; what nothing
takes is subtracted.
"""

import argparse
import subprocess
import sys

import keras

import keras_dmmd as kd
from benchmarks import common, parts
from keras_dmmd import backend, random

MIB = 2.0**20
BY_HAND = "step by hand"


def lower_forward(model, x):
    import jax

    def pure(values, z, t, key):
        with keras.StatelessScope(state_mapping=zip(model.variables, values, strict=True)):
            return model.logits(z, t, seed=key)

    t = jax.numpy.full((x.shape[0],), 0.5)
    return jax.jit(pure).lower([v.value for v in model.variables], x, t, random.as_key(0))


def xla_plan(distiller, x):
    """MiB of temporaries, `{name: MiB}`; the step first."""
    from benchmarks import pure_jax

    lowered = {"step": parts.lower_train(distiller, x)}
    lowered |= {name: parts.lower_train(model, x) for name, model in parts.updates(distiller).items()}
    lowered |= {
        f"{role} forward": lower_forward(getattr(distiller, role), x)
        for role in ("teacher", "student", "critic")
    }
    if isinstance(distiller.process, kd.MaskedDiffusion):
        step, state = pure_jax.make_step(distiller)
        lowered[BY_HAND] = step.lower(state, x)
    return {name: parts.temporaries(plan) / MIB for name, plan in lowered.items()}


def run(what, distiller, x):
    """Run the step or every part a few times; `"nothing"` runs nothing."""
    functions = {
        "nothing": list,
        "parts": lambda: parts.step_parts(distiller, x).values(),
        "step": lambda: [parts.stepper(distiller, x)],
    }[what]()
    for function in functions:
        for _ in range(3):
            backend.synchronize(function())


def gpu_peak(what, distiller, x):
    """MiB at the allocator's peak while running, or `None` without a GPU."""
    if keras.backend.backend() == "torch":
        import torch

        if not torch.cuda.is_available():
            return None
        torch.cuda.reset_peak_memory_stats()
        run(what, distiller, x)
        return torch.cuda.max_memory_allocated() / MIB
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    tf.config.experimental.reset_memory_stats("GPU:0")
    run(what, distiller, x)
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / MIB


def child(what, distiller, x):
    """In a process of its own: the peak, and how it was measured."""
    peak, how = gpu_peak(what, distiller, x), "allocator"
    if peak is None:
        run(what, distiller, x)
        peak, how = common.peak_bytes() / MIB, "resident"
    print("peak", peak, how)


def peaks(argv):
    """`child` for each, in fresh processes; what "nothing" takes is subtracted."""
    result, how = {}, None
    for what in ("nothing", "parts", "step"):
        command = [sys.executable, __file__, *argv, "--child", what]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        _, value, how = output.split()[-3:]
        result[what] = float(value)
    return {name: result[name] - result["nothing"] for name in ("step", "parts")}, how


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", choices=sorted(parts.PROCESSES), default="masked")
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", choices=["nothing", "parts", "step"], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child or keras.backend.backend() == "jax":
        distiller = parts.build_distiller(args.process, args.hidden, args.layers, seed=args.seed)
        x = parts.batch(args.batch_size, args.seed)
    if args.child:
        return child(args.child, distiller, x)
    if keras.backend.backend() == "jax":
        sizes, how = xla_plan(distiller, x), "XLA's plan of temporaries"
    else:
        sizes, how = peaks(argv)
    largest = max(size for name, size in sizes.items() if name not in ("step", BY_HAND))
    print(f"measured: {how}")
    common.print_table([{"what": k, "MiB": v} for k, v in sizes.items()], ["what", "MiB"])
    print(f"step / largest part: {sizes['step'] / largest:.3f}")
    results = {"how": how, "mib": sizes, "step_over_largest_part": sizes["step"] / largest}
    settings = {name: value for name, value in vars(args).items() if name != "child"}
    common.write_json("memory", results, settings)


if __name__ == "__main__":
    main()
