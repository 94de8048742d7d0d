"""The page of a model at a hub."""

import json

import pytest

import keras_dmmd as kd
from keras_dmmd.presets.model_card import model_card

pytestmark = pytest.mark.plain


@pytest.fixture
def preset(tmp_path):
    tokenizer = kd.tokenizers.CharacterTokenizer("ab", end=True)
    denoiser = kd.Denoiser(3, hidden_dim=8, num_layers=1, num_heads=2, cond_dim=4)
    process = kd.UniformDiffusion(3)
    model = kd.DiffusionModel(denoiser, process, 6, steps=5, sampler="psi", tokenizer=tokenizer)
    model.build()
    card = {"task": "a and b", "command": "keras-dmmd train ab.txt", "nelbo_bits_per_token": {"x": 1}}
    kd.presets.save_to_preset(model, tmp_path / "p", card={**card, "license": "mit"})
    return tmp_path / "p"


def test_a_page_says_what_the_model_is(preset):
    page = model_card(preset, "hf://me/ab")
    header = page.split("---\n")[1].splitlines()
    assert "license: mit" in header and "pipeline_tag: text-generation" in header
    for part in (
        "# ab\n\na and b\n",
        'kd.from_preset("hf://me/ab")',
        "| sampler | Psi |",
        "| process | UniformDiffusion |",
        "| tokenizer | CharacterTokenizer |",
        "| network calls per sample | 5 |",
        "| tokens per sample | 6 |",
        "| license | mit |",
        "```\nkeras-dmmd train ab.txt\n```",
        '- nelbo bits per token: {"x": 1}',
    ):
        assert part in page, part
    assert json.loads(page.split("```json\n")[1].split("```")[0])["task"] == "a and b"
    assert "license: apache-2.0" in model_card(preset, "hf://me/ab", "apache-2.0")
    with pytest.raises(ValueError, match="`license` must be an identifier"):
        model_card(preset, "hf://me/ab", "mit\ntags: [x]")


def test_a_page_of_a_preset_without_a_card(preset):
    (preset / "card.json").unlink()
    page = model_card(preset, "hf://me/ab")
    assert "license:" not in page.split("---\n")[1] and "| license | not stated |" in page
    (preset / "config.json").write_text(json.dumps({"class_name": "ImageFeatures", "config": {}}))
    assert "| kind | ImageFeatures |" in model_card(preset, "file:///f")


def test_an_upload_has_the_page(preset, tmp_path):
    """It is made again for another license; what somebody wrote is left."""
    page = tmp_path / "hub" / "README.md"
    for license in ("cc0-1.0", "apache-2.0"):
        kd.presets.upload_to_hub(f"file://{tmp_path}/hub", preset, license=license)
        assert f"license: {license}" in page.read_text()
    assert kd.from_preset(f"file://{tmp_path}/hub").steps == 5
    (preset / "README.md").write_text("my own")
    kd.presets.upload_to_hub(f"file://{tmp_path}/hub", preset)
    assert page.read_text() == "my own"
