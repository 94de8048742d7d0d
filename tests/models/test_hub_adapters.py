"""KerasHub's adapters and integers in denoisers: copied, in files, merged, distilled."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from tests.builders import QUICKLY, gradients, randomise

keras_hub = pytest.importorskip("keras_hub")

from keras_dmmd.models import changes  # noqa: E402
from keras_dmmd.models.hub import HubDenoiser  # noqa: E402
from tests.models import test_hub as hub  # noqa: E402
from tests.models.test_hub import LENGTH, MASK, V, ids, make, numpy, randomised  # noqa: E402


def teacher(kind="Bert", **kwargs):
    return kd.DiffusionModel(make(kind, **kwargs), kd.MaskedDiffusion(V), length=LENGTH)


def adapted(model, rank=2):
    """KerasHub's own adapters, with an effect."""
    model.denoiser.backbone.enable_lora(rank)
    rng = np.random.default_rng(4)
    for variable in model.weights:
        if variable.name.startswith("lora_"):
            variable.assign(rng.normal(size=variable.shape) * 0.3)
    return model


def logits(model):
    rest = np.arange(V) != MASK
    return numpy(model.logits(ids(), np.full(3, 0.7, "float32"), seed=3))[..., rest]


def same(model, other):
    for a, b in zip(model.weights, other.weights, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=a.path)
    np.testing.assert_array_equal(logits(model), logits(other))
    trained = [[v.path.split("/")[-1] for v in m.trainable_variables] for m in (model, other)]
    assert trained[0] == trained[1]


@pytest.mark.parametrize(
    ("kind", "quantize"), [("Bert", False), ("Bert", True), ("ESM", True), ("Gemma3", True)]
)
def test_a_backbone_with_adapters_is_copied_and_kept(kind, quantize, tmp_path):
    model = adapted(teacher(kind))
    if quantize:
        model.quantize("int8")
    same(model, model.copy())
    kd.presets.save_to_preset(model, tmp_path / "preset", dtype="float32")
    same(model, kd.from_preset(tmp_path / "preset"))
    model.save(tmp_path / "model.keras")
    same(model, keras.saving.load_model(tmp_path / "model.keras"))
    plain = model.merged()
    assert all(v.dtype == "float32" and "lora" not in v.path for v in plain.weights)
    assert len(plain.trainable_variables) == len(plain.weights)
    # Keras rounds activations, too, where weights are integers.
    np.testing.assert_allclose(logits(plain), logits(model), atol=0.15 if quantize else 1e-5)


def test_a_copied_backbone_keeps_what_became_of_it():
    backbone = hub.KINDS["Bert"]()
    backbone.backbone.enable_lora(2)
    randomised(backbone)
    backbone.quantize("int8", filters=lambda layer: layer.name == "query")
    denoiser = HubDenoiser(backbone, mask_token_id=MASK, share=False)
    own, copied = (changes.read(changes.layers_of(m)) for m in (backbone, denoiser.model))
    assert own == copied and "lora_rank" in str(own) and "int8" in str(own)


def test_integers_of_half_precision():
    """KerasHub's config of such a backbone names the policies of integers alone."""
    backbone = keras_hub.models.BertBackbone(**hub.SIZE, max_sequence_length=LENGTH, dtype="bfloat16")
    denoiser = HubDenoiser(randomised(backbone), mask_token_id=MASK)
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(V), length=LENGTH)
    model.quantize("int8")
    assert {v.dtype for v in model.weights} >= {"int8", "bfloat16"}
    same(model, model.copy())


def test_masks_are_the_mean_of_integers():
    """Their vector stands in the place of token 0's, whose own integers it must not be added to."""
    backbone = randomised(hub.KINDS["Bert"]()).backbone
    model = kd.DiffusionModel(HubDenoiser(backbone), kd.MaskedDiffusion(V), length=LENGTH)
    before = logits(model)
    model.quantize("int8")
    np.testing.assert_allclose(logits(model), before, atol=0.1)


def test_a_backbone_of_integers_is_distilled_with_adapters():
    model = randomise(teacher())
    model.quantize("int8")
    before = [numpy(v) for v in model.weights]
    distiller = kd.DMMDDistiller(model, steps=2, adapters=2, noise_scale=0.0)
    np.testing.assert_array_equal(logits(distiller.student), logits(model))
    adapted_layers = {v.path.split("/")[-2] for v in distiller.critic.trainable_variables}
    assert adapted_layers == {
        *("query", "value", "attention_output", "feedforward_intermediate_dense"),
        *("feedforward_output_dense", "intermediate_dense", "hidden", "out", "time_projection"),
    }
    distiller.compile(**QUICKLY)
    x = np.random.default_rng(0).integers(5, V, (32, LENGTH)).astype("int32")
    distiller.fit(x, verbose=0)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, numpy(new), err_msg=new.path)
    for role in (distiller.student, distiller.critic):
        moved = [v for v in role.trainable_variables if v.name == "lora_kernel_b"]
        assert all(numpy(v).any() for v in moved) and moved
    assert distiller.student.generate(2, steps=2, seed=1).shape == (2, LENGTH)


def test_gradients_pass_a_head_of_integers():
    """The way from logits to features is that of the floats; Keras's rounding lets nothing through."""
    model = teacher()
    denoiser = model.denoiser
    x = np.random.default_rng(2).normal(size=(2, LENGTH, 8)).astype("float32")
    upstream = np.random.default_rng(3).normal(size=(2, LENGTH, V)).astype("float32")

    def weighted(features):
        return denoiser._head(features * 1.0) * ops.convert_to_tensor(upstream)

    (wanted,) = gradients(weighted, x)
    model.quantize("int8")
    model.logits(ids(), np.full(3, 0.7, "float32"))
    (found,) = gradients(weighted, x)
    np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())
