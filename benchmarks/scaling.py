"""A D-MMD round on 1, 2, 4 and 8 devices: bytes per device, and bytes that devices send each other.

    KERAS_BACKEND=jax python -m benchmarks.scaling

The devices are virtual, parts of one CPU. What XLA plans and what it sends are what they would be on
real ones of that number (on other hardware XLA may choose other operations for the same sums). Time is
not: devices share the cores. What is measured is processor time, of all devices together, over that of
one device with the same rows: what division costs beside the work itself. "strong" divides one batch,
"weak" gives every device a batch; "deep" is a network of more blocks, whose blocks are also made again
for gradients, for the model in scaling_model.py. The table is put between the marks in docs/scale.md.
"""

import argparse
import os
import re
import statistics
import time

if __name__ == "__main__":  # before JAX starts
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import keras

import keras_dmmd as kd
from benchmarks import common, parts
from benchmarks.pages import write_between

MIB = 2.0**20
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
SENT = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(SENT)})(?:-start)?\(")
ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def layouts(devices):
    """The distributions of so many devices, by their names."""
    names = keras.distribution.list_devices()[:devices]
    if devices == 1:
        return {"one device": keras.distribution.DataParallel(devices=names)}
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


def measure(distribution, hidden, layers, rows, seed, repeats=0, remat=False):
    """What one round takes: a dict of MiB and operations per device, and of processor seconds."""
    with distribution.scope():
        distiller = parts.build_distiller(hidden=hidden, layers=layers, seed=seed, remat=remat)
        x = parts.batch(rows, seed)
        x = jax.device_put(x, distribution.get_data_layout(x.shape).backend_layout)
        groups = parts.groups_of(distiller)
        held = sum(v.value.addressable_shards[0].data.nbytes for group in groups for v in group)
        shardings = tuple([v.value.sharding for v in group] for group in groups)
        program = parts.lower_train(distiller, x, out_shardings=(None, shardings)).compile()
        state, seconds = parts.jax_state(distiller), []
        for _ in range(repeats and repeats + 1):  # the first one is not counted
            start = time.process_time()
            _, state = jax.block_until_ready(program(state, (x,)))
            seconds.append(time.process_time() - start)
    by_kind = {kind: size / MIB for kind, size in sent(program.as_text()).items() if size}
    found = {
        "layers": layers,
        "remat": remat,
        "weights": sum(v.value.size for v in distiller.teacher.variables),
        "state": held / MIB,
        "temporaries": program.memory_analysis().temp_size_in_bytes / MIB,
        "sent": sum(by_kind.values()),
        "sent_by_kind": by_kind,
        "operations": program.cost_analysis()["flops"],
    }
    if repeats:
        found["processor_s"] = statistics.median(seconds[1:])
        found["processor_s_least"], found["processor_s_greatest"] = min(seconds[1:]), max(seconds[1:])
    return found


def add_overheads(rows):
    """Processor time over that of one device; where the batch grew, of so many batches."""
    timed = [row for row in rows if "processor_s" in row]
    for row in timed:
        one = next((o for o in timed if o["devices"] == 1 and o["scaling"] == row["scaling"]), None)
        if one:
            row["overhead"] = row["processor_s"] / one["processor_s"] * one["rows"] / row["rows"]


def table(rows):
    """Markdown of what was measured."""
    columns = ["devices", "layout", "rows", "state", "temporaries", "sent", "processor time"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        if row["scaling"] == "deep" or (row["scaling"] == "weak" and row["devices"] == 1):
            continue  # for the model; the same as strong
        figures = [f"{row[name]:.2f}" for name in ("state", "temporaries", "sent", "overhead")]
        cells = [str(row["devices"]), row["layout"], str(row["rows"]), *figures]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--deep", type=int, default=4, help="blocks of the deeper network")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default=common.RESULTS)
    parser.add_argument("--resume", action="store_true", help="after what the result file holds")
    args = parser.parse_args(argv)
    jobs = [
        (kind, devices, layout, {"layers": args.layers, "repeats": args.repeats})
        for kind in ("strong", "weak")
        for devices in args.devices
        for layout in layouts(devices)
    ]
    ends = {"one device": 1, "fully sharded": args.devices[-1]}
    jobs += [
        ("deep", devices, layout, {"layers": args.deep, "remat": remat})
        for layout, devices in ends.items()
        for remat in (False, True)
    ]
    resume = vars(args).pop("resume")
    rows = common.read_results("scaling", vars(args), args.folder) if resume else []
    for kind, devices, layout, options in jobs[len(rows) :]:
        size = args.batch_size * (1 if kind == "strong" else devices)
        made = measure(layouts(devices)[layout], args.hidden, rows=size, seed=args.seed, **options)
        rows.append({"scaling": kind, "devices": devices, "layout": layout, "rows": size, **made})
        add_overheads(rows)
        common.write_json("scaling", rows, vars(args), folder=args.folder)
    write_between("figures: benchmarks/scaling.py", table(rows))


if __name__ == "__main__":
    main()
