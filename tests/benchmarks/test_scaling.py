import json

import keras
import pytest

from benchmarks import scaling, scaling_model

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="reads XLA's program")

PROGRAM = """
  %all-reduce.3 = f32[16,8]{1,0} all-reduce(f32[16,8]{1,0} %dot.1), replica_groups={}
  %both = (f32[4]{0}, bf16[2,3]{1,0}) all-reduce(%a, %b), channel_id=1
  %gathered = s32[10]{0} all-gather-start(s32[5]{0} %x), dimensions={0}
  %use = f32[16,8]{1,0} add(f32[16,8]{1,0} %all-reduce.3, f32[16,8]{1,0} %all-reduce.3)
  %one = f32[] all-to-all(f32[] %y)
"""


def test_bytes_that_a_program_sends():
    found = scaling.sent(PROGRAM)
    assert found["all-reduce"] == 16 * 8 * 4 + 4 * 4 + 2 * 3 * 2
    assert found["all-gather"] == 40 and found["all-to-all"] == 4
    assert found["reduce-scatter"] == found["collective-permute"] == 0


def test_a_model_of_a_round():
    """One device by hand: 8 blocks of 4 features, no condition, 2 words."""
    network = scaling_model.Network("small", 8, 4, condition=0, words=2)
    assert network.weights == 8 * 12 * 16 + 16
    machine = scaling_model.Accelerator("a", peak=1e6, memory=1e9, near=100.0, far=10.0, near_devices=2)
    one = scaling_model.estimate(
        network, machine, 1, tokens=10, length=0, utilisation=0.5, remade=False
    )
    assert one["state_gb"] == pytest.approx(4 * 1552 * 10 / 1e9)
    assert one["compute_s"] == pytest.approx(9 * 2 * (8 * 192 + 8) * 10 / 0.5e6)
    assert one["sent_gb"] == one["sending_s"] == 0
    four = scaling_model.estimate(network, machine, 4, tokens=10, length=0, remade=False)
    assert four["state_gb"] == pytest.approx(one["state_gb"] / 4)
    assert four["sent_gb"] == pytest.approx(1552 * (2 * 4 + 4 * 2) * 0.75 / 1e9)
    assert four["sending_s"] == pytest.approx(1e9 * four["sent_gb"] / 10.0)
    assert one["fits"] == four["fits"] == "yes" and one["held_gb"] == 0
    assert four["held_gb"] == pytest.approx(2 * 1552 / 1e9)


@pytest.mark.parametrize(
    "gathered, fits, gathers", [(3104, "yes", 4), (3000, "if gathered again", 6), (300, "no", 6)]
)
def test_whether_gathered_weights_fit(gathered, fits, gathers):
    """Room for so many bytes beside state and temporaries: all are 3,104, a block's are 384."""
    network = scaling_model.Network("small", 8, 4, condition=0, words=2)
    beside = 1552 * 10 + scaling_model.TEMPORARIES * network.activations(False) * 10
    machine = scaling_model.Accelerator("a", 1e6, (beside + gathered + 1) / 0.9, 1.0, 1.0, 4)
    found = scaling_model.estimate(network, machine, 4, tokens=10, length=0, remade=False)
    assert found["fits"] == fits
    assert found["sent_gb"] == pytest.approx(1552 * (2 * gathers + 4 * 2) * 0.75 / 1e9)


def test_what_was_measured_is_close_to_the_model():
    """Of the committed figures; and trainings on a GPU, of which the rate is recomputed here."""
    with open(scaling_model.MEASURED) as file:
        found = scaling_model.compared(json.load(file))
    assert {row["row"]["layout"] for row in found} == {"one device", "data parallel", "fully sharded"}
    for row in found:
        for name in ("state", "operations"):
            predicted, measured = row["figures"][name]
            assert measured == pytest.approx(predicted, rel=0.06), name
    share = scaling_model.reached()["sotu_chars_teacher"]
    # 12,500 updates of 512 rows of 128 tokens in 4.6 minutes; 6 blocks of 192 features, 27 words.
    forward = 2 * (6 * 12 * 192**2 + 27 * 192) + 4 * 6 * 128 * 192
    assert share == pytest.approx(12_500 * 512 * 128 * 3 * forward / 276 / 989e12)
