"""A D-MMD round on 1, 2, 4 and 8 devices: bytes per device, and bytes that devices send each other.

    KERAS_BACKEND=jax python -m benchmarks.scaling

The devices are virtual, parts of one CPU. What XLA plans and what it sends are what they would be on
real ones of that number (on other hardware XLA may choose other operations for the same sums); time is
not, and is not measured. "strong" divides one batch, "weak" gives every device a batch.
"""

import argparse
import os
import re

if __name__ == "__main__":  # before JAX starts
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import keras

import keras_dmmd as kd
from benchmarks import common, parts

MIB = 2.0**20
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
SENT = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(SENT)})(?:-start)?\(")
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def layouts(devices):
    """The distributions of so many devices, by their names."""
    names = keras.distribution.list_devices()[:devices]
    found = {
        "data parallel": keras.distribution.DataParallel(devices=names),
        "fully sharded": kd.distribution.FullySharded(devices=names),
    }
    if devices >= 4:
        mesh = keras.distribution.DeviceMesh((devices // 2, 2), ["batch", "model"], names)
        layout = kd.distribution.layout_map(mesh, data="batch")
        found["layers split in 2"] = kd.distribution.SplitLayers(
            layout_map=layout, batch_dim_name="batch"
        )
    return found


def sent(text):
    """Bytes of the results of a program's collective operations, by their kinds.

    Operations in a loop count once.
    """
    found = dict.fromkeys(SENT, 0)
    for result, kind in COLLECTIVE.findall(text):
        for dtype, shape in ARRAY.findall(result):
            size = 1
            for n in filter(None, shape.split(",")):
                size *= int(n)
            found[kind] += size * BYTES.get(dtype, 4)
    return found


def measure(distribution, hidden, layers, rows, seed):
    """What one round takes: a dict of MiB per device."""
    import jax

    with distribution.scope():
        distiller = parts.build_distiller(hidden=hidden, layers=layers, seed=seed)
        x = parts.batch(rows, seed)
        x = jax.device_put(x, distribution.get_data_layout(x.shape).backend_layout)
        state = [v.value for group in parts.groups_of(distiller) for v in group]
        shardings = tuple([v.value.sharding for v in group] for group in parts.groups_of(distiller))
        program = parts.lower_train(distiller, x, out_shardings=(None, shardings)).compile()
    held = sum(v.addressable_shards[0].data.nbytes for v in state)
    by_kind = {kind: size / MIB for kind, size in sent(program.as_text()).items() if size}
    return {
        "state": held / MIB,
        "temporaries": program.memory_analysis().temp_size_in_bytes / MIB,
        "sent": sum(by_kind.values()),
        "sent_by_kind": by_kind,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=common.RESULTS)
    args = parser.parse_args(argv)
    rows = []
    for kind in ("strong", "weak"):
        for devices in args.devices:
            size = args.batch_size * (devices if kind == "weak" else 1)
            for name, distribution in layouts(devices).items():
                found = measure(distribution, args.hidden, args.layers, size, args.seed)
                rows.append(
                    {"scaling": kind, "devices": devices, "layout": name, "rows": size, **found}
                )
    common.print_table(rows, ["scaling", "devices", "layout", "rows", "state", "temporaries", "sent"])
    common.write_json("scaling", rows, vars(args), folder=args.folder)


if __name__ == "__main__":
    main()
