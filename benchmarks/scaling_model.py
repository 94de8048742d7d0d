"""A model of a D-MMD round on many accelerators: memory, bytes sent and time per device.

    python -m benchmarks.scaling_model

Arithmetic, not a measurement: docs/scale.md says what it rests on and what it does not know.
"""

import argparse
import dataclasses
import math

# Teacher, student and critic; the last two have gradients and Adam's two moments, the student an EMA.
WEIGHTS = {"teacher": 1, "student": 1, "critic": 1}
FLOATS_BESIDE = {"student": 4, "critic": 3}
# Passes of a round in forwards of one network: critic's update (student, critic forward and backward)
# and student's (student forward and backward, critic, teacher); a backward is two forwards.
FORWARDS = (1 + 3) + (3 + 1 + 1)
# Bytes of a token's activations that a layer keeps for its gradient, in features: Korthikanti et al.,
# "Reducing Activation Recomputation in Large Transformer Models" (arXiv 2205.05198), 34 without the
# attention's table, which fused attention does not keep; two with rematerialisation of whole blocks.
KEPT, KEPT_REMADE = 34, 2


@dataclasses.dataclass(frozen=True)
class Network:
    """A transformer with adaptive layer norm, of `layers` blocks of `hidden` features."""

    name: str
    layers: int
    hidden: int
    condition: int = 128
    words: int = 50_258

    @property
    def block(self):
        """Weights of a block: attention 4 h², MLP 8 h², six modulations of the condition."""
        return 12 * self.hidden**2 + 6 * self.hidden * self.condition

    @property
    def weights(self):
        return self.layers * self.block + 2 * self.words * self.hidden

    def forward(self, length):
        """Floating-point operations of a token's forward pass, without the embedding."""
        attention = 4 * self.layers * length * self.hidden
        return 2 * (self.layers * self.block + self.words * self.hidden) + attention


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


def estimate(network, accelerator, devices, tokens, length, utilisation=0.4, sharded=True, remade=True):
    """A round's figures per device, a dict; `tokens` are those of a device's part of the batch."""
    n, weights = (devices if sharded else 1), network.weights
    floats = 4 * weights * (sum(WEIGHTS.values()) + sum(FLOATS_BESIDE.values())) / n
    kept = (KEPT_REMADE * network.layers + KEPT) if remade else KEPT * network.layers
    activations = kept * network.hidden * tokens
    forwards = FORWARDS + (2 if remade else 0)  # blocks of both trained networks once more
    compute = forwards * network.forward(length) * tokens / (utilisation * accelerator.peak)
    # bfloat16 weights gathered for every pass, float32 gradients of two networks reduced. A pass is a
    # forward or a backward; a ring sends (n - 1) / n of what it gathers.
    ring = (devices - 1) / devices
    passes = 9 if remade else 7
    gathered = 2 * weights * passes * ring if sharded else 0
    reduced = 4 * weights * 2 * ring * (1 if sharded else 2)
    bandwidth = accelerator.near if devices <= accelerator.near_devices else accelerator.far
    return {
        "network": network.name,
        "accelerator": accelerator.name,
        "devices": devices,
        "state_gb": floats / 1e9,
        "activations_gb": activations / 1e9,
        "fits": floats + activations < 0.9 * accelerator.memory,
        "sent_gb": (gathered + reduced) / 1e9,
        "compute_s": compute,
        "sending_s": (gathered + reduced) / bandwidth,
    }


def rows(tokens=8192, length=1024, devices=(1, 8, 64, 256)):
    """`estimate`s of every network on every accelerator, fully sharded and rematerialised."""
    return [
        estimate(network, accelerator, n, tokens, length)
        for accelerator in ACCELERATORS
        for network in NETWORKS
        for n in devices
    ]


def table(found):
    """Markdown of what `rows` returned; a time is between full overlap and none."""
    lines = [
        "| accelerator | network | devices | state, GB | activations, GB | fits | sent, GB | round, s "
        "|",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        low = max(row["compute_s"], row["sending_s"])
        high = row["compute_s"] + row["sending_s"]
        cells = [
            row["accelerator"],
            row["network"],
            str(row["devices"]),
            _figure(row["state_gb"]),
            _figure(row["activations_gb"]),
            "yes" if row["fits"] else "no",
            _figure(row["sent_gb"]),
            f"{_figure(low)} to {_figure(high)}" if row["fits"] else "",
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
    print(table(rows(args.tokens, args.length)))


if __name__ == "__main__":
    main()
