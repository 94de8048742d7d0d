from unittest import mock

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from examples.train_digits_teacher import bits
from tests.builders import randomise, small_model, tiny_model


@pytest.mark.parametrize("noise", [None, "gaussian", "token"])
def test_round_trip_of_a_student(noise, tmp_path):
    student = small_model().copy(noise=noise)
    randomise(student)
    kd.presets.save_to_preset(student, tmp_path / "one", card={"note": "hello"}, dtype="float32")
    loaded = kd.from_preset(str(tmp_path / "one"))
    assert loaded.capabilities.noise == (noise is not None)
    assert (loaded.generate(32, steps=3, seed=1) == student.generate(32, steps=3, seed=1)).all()
    assert kd.presets.read_card(str(tmp_path / "one")) == {"note": "hello"}


@keras.saving.register_keras_serializable("keras_dmmd_tests")
class Words(kd.tokenizers.Tokenizer):
    """Words that are also names in Keras's configs, with a number each."""

    def __init__(self, ids, counts):
        self.ids, self.counts, self.vocabulary_size = ids, counts, len(ids)

    def get_config(self):
        return {"ids": self.ids, "counts": self.counts}

    @classmethod
    def from_config(cls, config):
        return cls(config["ids"], keras.saving.deserialize_keras_object(config["counts"]))


def test_what_users_keep_in_a_config_stays_whole(tmp_path):
    words = {"dtype": 0, "trainable": 1, "shared_object_id": 2, "compile_config": 3}
    tokenizer = Words(words, np.arange(4))
    denoiser = tiny_model(words=4, dtype="float16").denoiser
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(4), length=5, tokenizer=tokenizer)
    kd.presets.save_to_preset(model, tmp_path)
    found = kd.from_preset(str(tmp_path))
    assert found.tokenizer.ids == words and (found.tokenizer.counts == np.arange(4)).all()
    assert found.denoiser.dtype_policy.name == "float32"


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


def test_a_preset_is_published_in_a_folder(tmp_path):
    model = randomise(small_model())
    kd.presets.save_to_preset(model, tmp_path / "own", card={"note": "hello"})
    folder = tmp_path / "für alle" / "model"
    handle = folder.as_uri()
    assert "%20" in handle
    kd.presets.upload_to_hub(handle, tmp_path / "own")
    assert (folder / "config.json").exists()
    assert kd.presets.read_card(handle) == {"note": "hello"}
    draws = kd.from_preset(handle).generate(4, steps=2, seed=1)
    assert (draws == kd.from_preset(str(tmp_path / "own")).generate(4, steps=2, seed=1)).all()


@pytest.fixture
def hubs(monkeypatch):
    """The packages of hubs, with all that they have, whose functions say what they were called with."""
    names = ("huggingface_hub", "kagglehub")
    found = {name: mock.create_autospec(pytest.importorskip(name)) for name in names}
    monkeypatch.setattr(kd.presets.handles, "_package", found.get)
    return found


def test_handles_of_hugging_face(tmp_path, hubs):
    folder, hub = str(tmp_path / "own"), hubs["huggingface_hub"]
    kd.presets.save_to_preset(small_model(), folder)
    hub.snapshot_download.return_value = folder
    kd.presets.upload_to_hub("hf://user/model", folder)
    hub.HfApi().create_repo.assert_called_once_with("user/model", exist_ok=True)
    hub.HfApi().upload_folder.assert_called_once_with(repo_id="user/model", folder_path=folder)
    assert kd.from_preset("hf://user/model").length == 5
    hub.snapshot_download.assert_called_once_with("user/model")


def test_handles_of_kaggle(tmp_path, hubs):
    folder, hub, name = str(tmp_path / "own"), hubs["kagglehub"], "user/model/keras/tiny"
    kd.presets.save_to_preset(small_model(), folder, card={"license": "apache-2.0"})
    hub.model_download.return_value = folder
    for license, shown in ((None, "Apache 2.0"), ("cc-by-4.0", None)):
        kd.presets.upload_to_hub(f"kaggle://{name}", folder, license=license)
        hub.model_upload.assert_called_with(name, folder, license_name=shown)
    assert kd.from_preset(f"kaggle://{name}").length == 5
    hub.model_download.assert_called_once_with(name)


def test_wrong_handles(tmp_path):
    for handle in ("hf://model", "kaggle://user/model", "ftp://user/model", "model", "file://"):
        with pytest.raises(ValueError, match="A handle must be 'hf://user/name'"):
            kd.presets.upload_to_hub(handle, tmp_path)
    with pytest.raises(ValueError, match="is no preset: it has no config.json and no weights.npz"):
        kd.presets.upload_to_hub("hf://user/model", tmp_path)


def test_a_student_knows_its_steps():
    distiller = kd.DMMDDistiller(small_model(), steps=3)
    assert (distiller.student.steps, distiller.teacher.steps) == (3, 64)
    assert len(distiller.student.generate(2, trajectory=True)) == 4
    for process in ("masked", "uniform"):
        assert kd.from_preset(f"digits_{process}_student").steps == 8


def test_presets_as_methods(tmp_path):
    """As KerasHub's models have them."""
    model = randomise(small_model())
    model.save_to_preset(tmp_path, card={"note": "hello"})
    assert kd.presets.read_card(tmp_path) == {"note": "hello"}
    loaded = kd.DiffusionModel.from_preset(tmp_path)
    assert (
        loaded.generate(4, steps=2, seed=1) == kd.from_preset(tmp_path).generate(4, steps=2, seed=1)
    ).all()
    with pytest.raises(ValueError, match="sotu_chars_reference.*no DiffusionModel"):
        kd.DiffusionModel.from_preset("sotu_chars_reference")
