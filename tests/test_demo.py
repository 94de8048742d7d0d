"""The page with networks inside, in a real browser: onnxruntime-web draws what `generate` draws."""

import pathlib
import shutil
import subprocess

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd.tokenizers import CharacterTokenizer
from tests.browser import BROWSER, visit
from tests.builders import SMALL, randomise

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="ONNX is written on Torch")
CACHE = pathlib.Path(__file__).parent.parent / ".pytest_cache"
# What a reader does: twice as many calls, another seed, a prompt; then one that the model cannot take.
READER = """
(async () => {
  const [panel] = panels;
  await panel.first;
  panel.fields.calls.value = 1;
  panel.fields.seed.value = 5;
  panel.fields.prompt.value = "AB";
  const found = await panel.start();
  found.text = document.querySelector("pre").textContent;
  found.bold = document.querySelector("pre b").textContent;
  panel.fields.prompt.value = "a?";
  await panel.start().catch(() => {});
  found.error = document.getElementById("error").textContent;
  return found;
})().catch((problem) => ({ problem: String(problem) })).then((found) =>
  fetch("/found", { method: "POST", body: JSON.stringify(found) }));
"""


@pytest.fixture(scope="module")
def files():
    demo = pytest.importorskip("examples.demo")
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    if BROWSER is None or shutil.which("npm") is None:
        pytest.skip("no Chromium, or no npm, is installed")
    try:
        return demo.runtime(CACHE)
    except subprocess.CalledProcessError:
        pytest.skip("npm could not fetch onnxruntime-web")


@pytest.mark.slow
def test_the_page_draws_what_generate_draws(files, tmp_path):
    from examples import demo

    tokenizer = CharacterTokenizer("abc")
    denoiser = randomise(kd.Denoiser(3, **SMALL))  # too small for int8
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(3), length=6, tokenizer=tokenizer)
    shown = {
        "title": "Letters & <b>",
        "note": "of three",
        "rows": 2,
        "teacher": model,
        "student": model,
    }
    page = demo.page({"letters": shown}, title="<Few> {{data}}", files=files, pause=0)
    assert "&lt;Few&gt; {{data}}" in page and "Letters & \\u003cb>" in page
    page = page.replace("</body>", f"<script>{READER}</script></body>").encode()
    found = visit(lambda path: (page, "text/html; charset=utf-8"), tmp_path)
    assert "problem" not in found, found
    expected = model.generate(prompts=[tokenizer.encode("ab")] * 2, steps=2, seed=5, verbose=0)
    for role in ("teacher", "student"):
        np.testing.assert_array_equal(np.reshape(found[role], (2, 6)), expected)
    assert found["text"] == tokenizer.decode(expected)[0] and found["bold"] == "a"
    assert found["error"] == "Letters & <b>: The model does not know “?”."


def test_the_page_refuses_what_it_cannot_draw():
    from examples import demo

    model = kd.DiffusionModel(kd.Denoiser(3, **SMALL), kd.UniformDiffusion(3), length=6)
    with pytest.raises(ValueError, match="begins with masks"):
        demo.network(model)
