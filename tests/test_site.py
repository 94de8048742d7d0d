"""The site of the pages: made strictly, nothing public missing, opened in a real browser."""

import importlib
import inspect
import json
import mimetypes
import re
import sys

import pytest

from tests.browser import BROWSER, visit
from tests.test_docs import DOCS

pytestmark = pytest.mark.plain
for package in ("zensical", "mkdocstrings_handlers.python", "latex2mathml", "matplotlib"):
    pytest.importorskip(package)

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


@pytest.fixture(scope="module")
def make_site():
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("make_site")
    sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def site(make_site, tmp_path_factory):
    return make_site.make(tmp_path_factory.mktemp("site"))


def exported(module):
    """Names of a module for everyone: of a package all that it holds, of a file what it defines."""
    module = importlib.import_module(module)
    for name, thing in vars(module).items():
        is_own = hasattr(module, "__path__") or getattr(thing, "__module__", "") == module.__name__
        if is_own and not name.startswith("_") and (inspect.isclass(thing) or inspect.isroutine(thing)):
            yield name


def test_the_reference_has_every_public_name(make_site, site):
    import keras_dmmd as kd

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
    assert len(found) == len(pages) > 40
    for page in found:
        assert page["broken"] == page["elsewhere"] == [] and page["hidden"] == 0, page
    formulas = {page["path"]: page["formulas"] for page in found}
    assert formulas["/course/student.html"] > 5
    assert all(page["heading"] for page in found if page["path"] != "/404.html")
