"""The site of the pages, and the demo in it: made strictly, nothing public missing, in a real browser.

All of it on Torch, which writes the networks of the demo.
"""

import importlib
import inspect
import json
import mimetypes
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from examples import demo
from keras_dmmd.tokenizers import ByteTokenizer, CharacterTokenizer
from tests.browser import BROWSER, visit
from tests.builders import SMALL, numpy, randomise
from tests.test_docs import DOCS

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="ONNX is written on Torch"),
    pytest.mark.slow,
]
for package in ("zensical", "mkdocstrings_handlers.python", "latex2mathml", "matplotlib"):
    pytest.importorskip(package)
pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx.reference") and pytest.importorskip("onnx")
CACHE = DOCS.parent / ".pytest_cache"

# Opens every page in a frame, and says what a reader would not see, and what came from elsewhere.
READER = """<!doctype html><body><script>
const open = (path) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.width = 1200;
  frame.onload = () => {
    const page = frame.contentDocument;
    const hidden = (element) => element.getBoundingClientRect().height < 1;
    done({
      path,
      heading: page.querySelector("h1")?.textContent,
      broken: [...page.images].filter((image) => image.complete && !image.naturalWidth)
        .map((image) => image.src),
      formulas: page.querySelectorAll("math").length,
      hidden: [...page.querySelectorAll("math")].filter(hidden).length,
      elsewhere: frame.contentWindow.performance.getEntriesByType("resource")
        .map((entry) => entry.name).filter((name) => !name.startsWith(location.origin)),
    });
    frame.remove();
  };
  frame.src = path;
  document.body.append(frame);
});
(async () => {
  const found = [];
  for (const path of PAGES) found.push(await open(path));
  return found;
})().catch((problem) => String(problem)).then((found) =>
  fetch("/found", { method: "POST", body: JSON.stringify(found) }));
</script></body>"""
# What a reader does: twice as many calls, another seed, a prompt; then one that the model cannot take.
DEMO_READER = """
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
  found.capitals = encode("aB", { characters: ["a", "B"], length: 2 });
  return found;
})().catch((problem) => ({ problem: String(problem) })).then((found) =>
  fetch("/found", { method: "POST", body: JSON.stringify(found) }));
"""


@pytest.fixture(scope="module")
def make_site():
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("make_site")
    sys.path.remove(str(DOCS))


def model_of(**size):
    denoiser = randomise(kd.Denoiser(3, **SMALL | size))
    return kd.DiffusionModel(denoiser, kd.MaskedDiffusion(3), 6, tokenizer=CharacterTokenizer("abc"))


@pytest.fixture(scope="module")
def model():
    """Too small for int8."""
    return model_of()


@pytest.fixture(scope="module")
def student():
    """Whose kernels the page has as integers."""
    return model_of(hidden_dim=32)


def as_on_the_page(model):
    """A copy with the weights for which the page's integers and scales stand."""
    copy, tables = model.copy(), 0
    for weight in copy.denoiser.weights:
        values = numpy(weight)
        if values.ndim == 2 and values.size >= 1024:
            step = (np.abs(values).max(axis=0) / 127.0).astype("float32")
            integers, scales = demo.rounded(np.rint(values / step) * step.astype("float64"))
            weight.assign(integers * scales.astype("float32"))
            tables += 1
    assert tables >= 5
    return copy


@pytest.fixture(scope="module")
def runtime():
    """The files of onnxruntime-web, or nothing where npm cannot fetch them."""
    try:
        return demo.runtime(CACHE) if shutil.which("npm") else None
    except subprocess.CalledProcessError:
        return None


@pytest.fixture(scope="module")
def site(make_site, model, student, runtime, tmp_path_factory):
    """With a demo of two small networks."""
    shown = {"title": "Letters & <b>", "note": "of three", "rows": 2}
    shown |= {"teacher": model, "student": student}
    files = runtime or (b"",) * 3
    page = demo.page({"letters": shown}, title="<Few> {{data}}", files=files, pause=0)
    folder = tmp_path_factory.mktemp("site")
    (folder / "page.html").write_text(page, encoding="utf-8")
    return make_site.make(folder, folder / "page.html")


def exported(module):
    """Names of a module for everyone: of a package all that it holds, of a file what it defines."""
    module = importlib.import_module(module)
    for name, thing in vars(module).items():
        is_own = hasattr(module, "__path__") or getattr(thing, "__module__", "") == module.__name__
        if is_own and not name.startswith("_") and (inspect.isclass(thing) or inspect.isroutine(thing)):
            yield name


def test_the_reference_has_every_public_name(make_site, site):
    submodules = {f"keras_dmmd.{name}" for name, thing in vars(kd).items() if inspect.ismodule(thing)}
    public = {"callbacks", "datasets", "metrics", "presets", "random", "samplers", "tokenizers"}
    assert {f"keras_dmmd.{name}" for name in public} <= submodules & set(make_site.MODULES)
    missing = []
    for module in make_site.MODULES:
        page = (site / "reference" / f"{module}.html").read_text()
        ids = set(re.findall(r'id="([\w.]+)"', page))
        missing += [f"{module}.{name}" for name in exported(module) if f"{module}.{name}" not in ids]
    assert missing == []
    generate = (
        (site / "reference" / "keras_dmmd.html").read_text().partition('DiffusionModel.generate"')[2]
    )
    assert "guidance_scale" in generate and "RuntimeError" in generate


def test_a_site_without_a_demo_says_how_to_make_one(make_site, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.html is not there: .* examples/demo.py"):
        make_site.make(tmp_path, tmp_path / "none.html")


def test_a_dead_link_is_an_error(make_site, tmp_path):
    page = DOCS / "text.md"
    with pytest.raises(FileNotFoundError, match="docs/text.md links to nothing.md"):
        make_site.links("[a page](nothing.md)", page)
    kept = "[a](images.md) [b](https://keras.io) [c](#prompts)\n```\n[d](nothing.md)\n```\n"
    assert make_site.links(kept, page) == kept
    repository = make_site.REPOSITORY
    assert (
        make_site.links("[s](../SECURITY.md#a)", page) == f"[s]({repository}/blob/main/SECURITY.md#a)"
    )


def test_pages_are_in_the_menu(make_site):
    menu = (DOCS / "zensical.toml").read_text()
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert set(re.findall(r'"([\w/]+\.md)"', menu)) == pages


def test_runs_know_the_code_that_they_are_of(make_site, tmp_path, monkeypatch):
    """Code counts, what is said of it does not, nor does what takes no part."""
    monkeypatch.syspath_prepend(DOCS / "course")
    library = importlib.import_module("library")
    assert all((library.PACKAGE / part).exists() for part in library.PARTS)
    for part in library.PARTS:
        place = tmp_path / part if part.endswith(".py") else tmp_path / part / "one.py"
        place.parent.mkdir(exist_ok=True)
        place.write_text('"""A docstring."""\n\n\ndef f(x):\n    return x  # as it is\n')
    before = library.digest(tmp_path)
    (tmp_path / "losses" / "one.py").write_text("def f(x):\n    'Another.'\n    return x\n")
    (tmp_path / "models" / "hub.py").write_text("x = 1\n")
    assert library.digest(tmp_path) == before
    (tmp_path / "losses" / "one.py").write_text("def f(x):\n    return -x\n")
    assert library.digest(tmp_path) != before


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_pages_open_in_a_browser(site, tmp_path):
    pages = sorted(
        str(path.relative_to(site)) for path in site.rglob("*.html") if "assets" not in path.parts
    )
    reader = READER.replace("PAGES", json.dumps([f"/{page}" for page in pages]))

    def read(path):
        if path == "/":
            return reader.encode(), "text/html; charset=utf-8"
        file = site / path.partition("?")[0].lstrip("/")
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
        return (file.read_bytes(), kind) if file.is_file() else None

    found = visit(read, tmp_path)
    assert isinstance(found, list), found
    assert len(found) == len(pages) > 40 and "demo.html" in pages
    for page in found:
        assert page["broken"] == page["elsewhere"] == [] and page["hidden"] == 0, page
    formulas = {page["path"]: page["formulas"] for page in found}
    assert formulas["/course/student.html"] > 5
    assert all(page["heading"] for page in found if page["path"] != "/404.html")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_demo_draws_what_generate_draws(site, model, student, runtime, tmp_path):
    """By onnxruntime-web, in the page that readers of the site open."""
    if runtime is None:
        pytest.skip("npm is not there, or could not fetch onnxruntime-web")
    page = (site / "demo.html").read_text(encoding="utf-8")
    assert "&lt;Few&gt; {{data}}" in page and "Letters & \\u003cb>" in page
    assert 'href="demo.html"' in (site / "index.html").read_text()
    page = page.replace("</body>", f"<script>{DEMO_READER}</script></body>").encode()
    found = visit(lambda path: (page, "text/html; charset=utf-8"), tmp_path)
    assert "problem" not in found, found
    options = {"prompts": [model.tokenizer.encode("ab")] * 2, "steps": 2, "seed": 5, "verbose": 0}
    expected = {"teacher": model, "student": as_on_the_page(student)}
    expected = {role: own.generate(**options) for role, own in expected.items()}
    for role, tokens in expected.items():
        np.testing.assert_array_equal(np.reshape(found[role], (2, 6)), tokens)
    text = model.tokenizer.decode(expected["teacher"])[0]
    assert found["text"] == text and found["bold"] == "a" and found["capitals"] == [0, 1]
    assert found["error"] == "Letters & <b>: The model does not know “?”."


def test_weights_of_few_levels_have_the_scale_of_least_error():
    """Whole multiples as they are; and an outlier is cut off where that spares many others an error."""
    steps = np.arange(-31.0, 32.0)[:, None] * [0.5, -0.01]
    integers, scales = demo.rounded(steps, levels=31)
    np.testing.assert_array_equal(integers, np.arange(-31, 32)[:, None] * [1, -1])
    np.testing.assert_allclose(scales, [0.5, 0.01])
    integers, scales = demo.rounded(np.array([[1.3]] + [[0.5]] * 63), levels=2)
    assert integers[:, 0].tolist() == [2] + [1] * 63
    np.testing.assert_allclose(scales, [0.52])  # squares 0.093; with 0.4875 and 0.5525 0.115 and 0.21


def test_a_network_with_rounded_weights_computes_nearly_the_same(tmp_path):
    rng = np.random.default_rng(0)
    integers = rng.integers(-127, 128, (64, 8)).astype("int8")
    scales, x = rng.uniform(0.5, 2.0, 8).astype("float32"), rng.normal(size=(5, 64)).astype("float32")
    tables = [
        onnx.numpy_helper.from_array(part, name) for part, name in ((integers, "w"), (scales, "s"))
    ]
    graph = onnx.parser.parse_graph(
        "g (float[n, 64] x) => (float[n, 8] y) "
        "{ d = DequantizeLinear<axis = 1>(w, s) y = MatMul(x, d) }"
    )
    graph.initializer.extend(tables)
    opset = onnx.helper.make_opsetid("", 20)
    path = tmp_path / "network.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset]), path)
    made = onnx.load_from_string(demo.coarse(path))
    coarse = onnx.numpy_helper.to_array(made.graph.initializer[0])
    assert coarse.dtype == "int8" and 20 < np.abs(coarse).max() <= demo.LEVELS
    (found,) = onnx.reference.ReferenceEvaluator(made).run(None, {"x": x})
    exact = x.astype("float64") @ (integers.astype("float64") * scales)
    error = np.abs(found - exact).max(axis=0) / np.abs(exact).max(axis=0)
    assert 1e-4 < error.max() < 0.05


def test_the_demo_refuses_what_it_cannot_draw():
    model = kd.DiffusionModel(kd.Denoiser(3, **SMALL), kd.UniformDiffusion(3), length=6)
    with pytest.raises(ValueError, match="begins with masks"):
        demo.network(model)
    for tokenizer in (None, ByteTokenizer()):
        model = kd.DiffusionModel(
            kd.Denoiser(257, **SMALL), kd.MaskedDiffusion(257), tokenizer=tokenizer
        )
        with pytest.raises(ValueError, match="shows images, or characters"):
            demo.network(model)
