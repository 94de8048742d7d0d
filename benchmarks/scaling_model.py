"""A model of a D-MMD round on many accelerators: memory, bytes sent and time per device.

    python -m benchmarks.scaling_model

Arithmetic, held against what `benchmarks/scaling.py` measured and against training rates of a GPU.
docs/scale.md, into which its tables go, says what it rests on and what it does not know.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib

from benchmarks.pages import write_between

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEASURED = os.path.join(ROOT, "benchmarks", "results", "scaling_jax.json")
PRESETS = os.path.join(ROOT, "keras_dmmd", "presets")
# Of which minutes were measured, on one H200: docs/results.md.
TRAININGS = ("sotu_chars_teacher", "moses_teacher", "proteins_teacher")
H200 = 989e12  # NVIDIA's data sheet: dense bfloat16 operations per second
MIB = 2.0**20

# Floats of a weight: three networks, Adam's two moments of two of them, the student's EMA; and
# gradients, of student and critic in turn.
STATE, GRADIENTS = 3 + 2 * 2 + 1, 2
# Passes of a round in forwards of one network: critic's update (student, critic forward and backward)
# and student's (student forward and backward, critic, teacher); a backward is two forwards.
FORWARDS = (1 + 3) + (3 + 1 + 1)
# Bytes of a token's activations that a layer keeps for its gradient, in features of half precision:
# Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", arXiv 2205.05198:
# 34, of which 4 for each feature of the MLP, without the attention's table, which fused attention does
# not keep; two with rematerialisation of whole blocks.
KEPT, KEPT_REMADE = 34, 2
# How often a round gathers each weight: teacher, student and critic once, and the critic again after
# its update. Backward passes take the gathered ones, which wait for them, of one network at a time;
# where there is no memory for these, both trained networks would have to be gathered once more.
GATHERS, GATHERS_AGAIN = 4, 6
GATHERED = 2  # bytes of a gathered weight: in half precision, as it is computed with
# Temporaries that XLA plans, over the activations above: measured with four blocks made again.
TEMPORARIES = 3.2
ASSUMED = 0.4  # of the peak


@dataclasses.dataclass(frozen=True)
class Network:
    """A transformer with adaptive layer norm, of `layers` blocks of `hidden` features."""

    name: str
    layers: int
    hidden: int
    condition: int = 128
    words: int = 50_258
    mlp: int = 4

    @property
    def matrices(self):
        """Weights of a block that multiply every token: attention 4 h², MLP 2 · `mlp` · h²."""
        return (4 + 2 * self.mlp) * self.hidden**2

    @property
    def block(self):
        """Weights of a block: its matrices, and modulations, which multiply rows, not tokens."""
        return self.matrices + 6 * self.hidden * self.condition

    @property
    def weights(self):
        return self.layers * self.block + 2 * self.words * self.hidden

    @property
    def largest(self):
        """Weights of the largest layer."""
        return max(self.block, self.words * self.hidden)

    def forward(self, length):
        """Floating-point operations of a token's forward pass, without the embedding."""
        attention = 4 * self.layers * length * self.hidden
        return 2 * (self.layers * self.matrices + self.words * self.hidden) + attention

    def activations(self, remade):
        """Bytes of a token in half precision that wait for the backward pass."""
        block = KEPT - 4 * (4 - self.mlp)
        return self.hidden * (KEPT_REMADE * self.layers + block if remade else block * self.layers)


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """Published peak figures: dense bfloat16 operations per second, bytes, bytes per second.

    `near` is what a device sends to others of its host or slice, `far` its share of the network.
    """

    name: str
    peak: float
    memory: float
    near: float
    far: float
    near_devices: int


NETWORKS = (
    Network("170M", 12, 768),
    Network("1B", 18, 2048),
    Network("8B", 36, 4096, condition=1024),
)
ACCELERATORS = (
    # NVIDIA's data sheet: 989 TFLOP/s, 80 GB, NVLink 900 GB/s both ways; 400 Gbit/s per GPU.
    Accelerator("H100 SXM", 989e12, 80e9, 450e9, 50e9, 8),
    # Google's page: 197 TFLOP/s, 16 GB, 1,600 Gbit/s between chips of a slice of up to 256.
    Accelerator("TPU v5e", 197e12, 16e9, 200e9, 25e9, 256),
)


def estimate(
    network, accelerator, devices, tokens, length, utilisation=ASSUMED, sharded=True, remade=True
):
    """A round's figures per device, a dict; `tokens` are those of a device's part of the batch."""
    n, weights = (devices if sharded else 1), network.weights
    state = 4 * weights * (STATE + GRADIENTS) / n
    temporaries = TEMPORARIES * network.activations(remade) * tokens
    forwards = FORWARDS + (2 if remade else 0)  # blocks of both trained networks once more
    compute = forwards * network.forward(length) * tokens / (utilisation * accelerator.peak)
    is_divided = sharded and devices > 1
    room = 0.9 * accelerator.memory - state - temporaries
    held = GATHERED * weights if is_divided else 0
    keeps = held < room
    if not keeps and is_divided:
        held = GATHERED * network.largest
    # Weights are gathered as they are computed with, float32 gradients of two networks reduced; a ring
    # sends (n - 1) / n of what it gathers or scatters, and twice that where it reduces and keeps all.
    ring = (devices - 1) / devices
    gathers = GATHERS if keeps else GATHERS_AGAIN
    gathered = GATHERED * weights * gathers * ring if sharded else 0
    reduced = 4 * weights * 2 * ring * (1 if sharded else 2)
    bandwidth = accelerator.near if devices <= accelerator.near_devices else accelerator.far
    return {
        "network": network.name,
        "accelerator": accelerator.name,
        "devices": devices,
        "state_gb": state / 1e9,
        "temporaries_gb": temporaries / 1e9,
        "held_gb": held / 1e9,
        "fits": "no" if held >= room else "yes" if keeps else "if gathered again",
        "sent_gb": (gathered + reduced) / 1e9,
        "compute_s": compute,
        "sending_s": (gathered + reduced) / bandwidth,
    }


def rows(tokens=8192, length=1024, devices=(1, 8, 64, 256), reached=ASSUMED):
    """`estimate`s of every network on every accelerator, fully sharded and rematerialised."""
    found = []
    for accelerator in ACCELERATORS:
        for network in NETWORKS:
            for n in devices:
                row = estimate(network, accelerator, n, tokens, length)
                slow = estimate(network, accelerator, n, tokens, length, utilisation=reached)
                found.append({**row, "slow_s": slow["compute_s"] + slow["sending_s"]})
    return found


# What was measured --------------------------------------------------------------------------------


def compared(measured):
    """Rows of what `benchmarks/scaling.py` measured, and what is predicted for them: a list of dicts.

    MiB and billions of operations, per device and round, in float32.
    """
    found = []
    for row in measured["results"]:
        is_end = row["devices"] in (1, max(measured["settings"]["devices"]))
        if not is_end or row["scaling"] == "strong" or row["layout"].startswith("layers"):
            continue
        hidden = measured["settings"]["hidden"]
        network = Network("", row["layers"], hidden, condition=64, words=17, mlp=2)
        tokens, weights = 64 * row["rows"] // row["devices"], 4 * row["weights"] / MIB
        parts = row["devices"] if row["layout"] == "fully sharded" else 1
        forwards = FORWARDS + (2 if row["remat"] else 0)
        kept = 2 * network.activations(row["remat"]) * tokens / MIB  # in float32
        sent = row["sent_by_kind"]
        figures = {
            "state": (STATE * weights / parts, row["state"]),
            "temporaries": (GRADIENTS * weights / parts + kept, row["temporaries"]),
            "operations": (forwards * network.forward(64) * tokens / 1e9, row["operations"] / 1e9),
        }
        if row["devices"] > 1:
            figures["gradients sent"] = GRADIENTS * weights, sent.get("all-reduce", 0.0)
        if parts > 1:
            figures["weights sent"] = GATHERS * weights, sent.get("all-gather", 0.0)
        found.append({"row": row, "figures": figures})
    return found


def comparison(measured):
    """Markdown of `compared`: predicted, measured and their ratio."""
    lines = ["| devices | layout | blocks | what | predicted | measured | ratio |", "|---" * 7 + "|"]
    for found in compared(measured):
        row = found["row"]
        blocks = f"{row['layers']}, made again" if row["remat"] else str(row["layers"])
        for name, (predicted, seen) in found["figures"].items():
            cells = [str(row["devices"]), row["layout"], blocks, name]
            cells += [f"{predicted:.2f}", f"{seen:.2f}", f"{seen / predicted:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reached():
    """The shares of the peak at which teachers that ship were trained, by their names.

    All of an H200 that other trainings had too, so that these are lower bounds; an update is three
    forwards.
    """
    found = {}
    for name in TRAININGS:
        config, card = (
            json.loads(pathlib.Path(PRESETS, name, f"{file}.json").read_text())
            for file in ("config", "card")
        )
        length, config = config["config"]["length"], config["config"]["denoiser"]["config"]
        network = Network(
            name, config["num_layers"], config["hidden_dim"], words=config["vocabulary_size"]
        )
        operations = 3 * network.forward(length) * length * card["batch_size"] * card["updates"]
        found[name] = operations / (60 * card["minutes"]) / H200
    return found


# Tables -------------------------------------------------------------------------------------------


def table(found, share):
    """Markdown of what `rows` returned, of which the last column is for a share of the peak."""
    columns = ["accelerator", "network", "devices", "state, GB", "temporaries, GB", "gathered, GB"]
    columns += ["fits", "sent, GB"]
    columns += [f"round at {ASSUMED:.0%}, s", f"at {share:.1%}, s"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in found:
        low, high = max(row["compute_s"], row["sending_s"]), row["compute_s"] + row["sending_s"]
        cells = [
            row["accelerator"],
            row["network"],
            str(row["devices"]),
            _figure(row["state_gb"]),
            _figure(row["temporaries_gb"]),
            _figure(row["held_gb"]),
            row["fits"],
            _figure(row["sent_gb"]),
            "" if row["fits"] == "no" else f"{_figure(low)} to {_figure(high)}",
            "" if row["fits"] == "no" else _figure(row["slow_s"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(value):
    digits = max(0, 1 - math.floor(math.log10(value))) if value else 0
    return f"{value:.{min(digits, 3)}f}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192, help="of each device's part of a batch")
    parser.add_argument("--length", type=int, default=1024)
    args = parser.parse_args(argv)
    for network in NETWORKS:
        print(f"{network.name}: {network.weights / 1e6:,.0f} million weights")
    shares = reached()
    for name, share in shares.items():
        print(f"{name}: {100 * share:.1f}% of the peak")
    with open(MEASURED) as file:
        measured = json.load(file)
    write_between("comparison: benchmarks/scaling_model.py", comparison(measured))
    share = max(shares.values())
    found = rows(args.tokens, args.length, reached=share)
    write_between("model: benchmarks/scaling_model.py", table(found, share))


if __name__ == "__main__":
    main()
