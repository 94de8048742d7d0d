import numpy as np
import pytest

import keras_dmmd as kd
from examples.train_digits_teacher import bits
from tests.models import randomise
from tests.training.test_diffusion_model import small_model


@pytest.mark.parametrize("noise", [None, "gaussian", "token"])
def test_round_trip_of_a_student(noise, tmp_path):
    student = small_model().copy(noise=noise)
    randomise(student)
    kd.presets.save_to_preset(student, tmp_path / "one", card={"note": "hello"}, dtype="float32")
    loaded = kd.from_preset(str(tmp_path / "one"))
    assert loaded.takes_noise == (noise is not None)
    assert (loaded.generate(32, steps=3, seed=1) == student.generate(32, steps=3, seed=1)).all()
    assert kd.presets.read_card(str(tmp_path / "one")) == {"note": "hello"}


@pytest.mark.parametrize("name", kd.presets.names())
def test_shipped_presets_load_and_sample(name):
    model = kd.from_preset(name)
    draws = model.generate(8, steps=4, seed=0)
    assert draws.shape == (8, model.length)
    card = kd.presets.read_card(name)
    assert {"script", "seed", "backend"} <= set(card)


@pytest.mark.heavy
def test_shipped_teacher_keeps_its_promise():
    (_, _), (x, _) = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    teacher.compile()
    promised = kd.presets.read_card("digits_masked_teacher")["nelbo_bits_per_dim_held_out"]
    # 16 times and corruptions each for 297 images: a standard error of about 0.01 bits.
    assert abs(bits(teacher, x) - promised) < 0.05


def test_unknown_damaged_and_foreign_presets(tmp_path):
    with pytest.raises(ValueError, match="digits_masked_teacher"):
        kd.from_preset("nonsense")
    kd.presets.save_to_preset(small_model(), tmp_path)
    content = (tmp_path / "weights.npz").read_bytes()
    (tmp_path / "weights.npz").write_bytes(content[:100])
    with pytest.raises(OSError, match="damaged"):
        kd.from_preset(str(tmp_path))
    np.savez(tmp_path / "weights.npz", something=np.zeros(3))
    with pytest.raises(ValueError, match="do not belong"):
        kd.from_preset(str(tmp_path))


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = small_model()
    model.denoiser.head.bias.assign(np.array([np.nan, 0, 0]))
    with pytest.raises(ValueError, match="not finite"):
        kd.presets.save_to_preset(model, tmp_path)
    assert not list(tmp_path.glob("*.npz"))
