"""The page, opened in a real browser: what it shows after its script has run."""

import dataclasses
import re
import shutil
import subprocess

import pytest

from keras_dmmd import metrics
from keras_dmmd.evaluation import Report
from keras_dmmd.evaluation.page import page
from keras_dmmd.evaluation.report import with_error
from tests.builders import reference

pytestmark = pytest.mark.plain
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def row(model, steps, temperature, entropy, bits, **more):
    figures = {"unigram_entropy": entropy, "unigram_entropy_error": 0.01}
    figures |= {"bits_per_character": bits, "bits_per_character_error": 0.2}
    return {"model": model, "steps": steps, "temperature": temperature, "seeds": 3, **figures, **more}


def report():
    timed = {"seconds_per_sample": 0.002}
    return Report(
        "Speeches & <digits>",
        {
            "samples": 1000,
            "seeds": [0, 1, 2],
            "temperatures": [1.0, 0.8],
            "metrics": ["unigram_entropy", "bits_per_character"],
        },
        {"backend": "jax", "device": "CPU"},
        [
            row("data", None, 1.0, 2.7, 1.6),
            row("teacher", 4, 1.0, 2.6, 4.5, step_entropies=[2.0, 1.5, 1.0, 0.5], **timed),
            row("teacher", 16, 1.0, 2.65, 3.9, **timed),
            row("teacher", 16, 0.8, 2.5, 3.1, **timed),
            row("student", 4, 1.0, 2.68, 3.8, step_entropies=[1.0, 0.8, 0.7, 0.6], **timed),
        ],
        {
            "grids": {"student": [2, 2, 17, 1], "colours": [1, 2, 17, 3]},
            "samples": {
                "teacher": {
                    "4": ["<!--<script> a row </script><b>of</b> text", "another"],
                    "16": ["the last"],
                },
                "student": {"4": [[0, 16, 8, 4]] * 3},
                "colours": {"16": [[16, 0, 0, 0, 8, 16]]},
            },
        },
        {
            name: dataclasses.asdict(metric.note)
            for name, metric in (
                ("unigram_entropy", metrics.UnigramEntropy()),
                ("bits_per_character", metrics.BitsPerCharacter(reference())),
            )
        },
    )


def test_it_needs_nothing_from_elsewhere():
    text = page(report())
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", text)
    assert "@import" not in text and "url(" not in text.replace("url(#", "")
    assert text.count("<figure>") == 6  # two figures, time, frontier, entropies of two models
    assert "Speeches &amp; &lt;digits&gt;" in text and "{{" not in text
    assert "@media print" in text and 'name="viewport"' in text


@pytest.fixture(scope="module")
def dom(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("page")

    def visit(fragment="", width=1200, then="", made=None):
        """The page after its script and what `then` does."""
        text = page(made or report()).replace("</body>", f"<script>{then}</script></body>")
        (folder / "report.html").write_text(text, encoding="utf-8")
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
        flags += " --disable-background-networking --disable-component-update --dump-dom"
        address = f"file://{folder}/report.html{fragment}"
        command = [BROWSER, *flags.split(), f"--window-size={width},2000"]
        command += [f"--user-data-dir={folder}/profile", address]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return run.stdout

    return visit


def test_what_a_browser_shows(dom):
    shown = dom()
    models = shown[shown.index('id="models"') : shown.index("All figures")]
    assert re.findall(r"<h3>(.*?)</h3>", models) == ["teacher", "student", "colours"]
    assert "<output>4</output>" in shown
    # Text stands as it is, markup too; images are drawn.
    assert "<pre>&lt;!--&lt;script&gt; a row &lt;/script&gt;&lt;b&gt;of&lt;/b&gt; text</pre>" in models
    assert models.count('<canvas width="2" height="2">') == 3
    assert shown.count("<tr>") == 6


def test_names_that_every_object_has(dom):
    """No grid is given for these models, whatever JavaScript finds under their names."""
    made = report()
    names = ["constructor", "__proto__", "toString"]
    made.shown["samples"] = {name: {"4": [f"a sample of {name}"]} for name in names}
    made.shown["grids"] = {}
    shown = dom(made=made)
    assert re.findall(r"<pre>(.*?)</pre>", shown) == [f"a sample of {name}" for name in names]


def test_the_slider_moves_to_other_numbers_of_calls(dom):
    shown = dom("#16")
    models = shown[shown.index('id="models"') : shown.index("All figures")]
    assert "<output>16</output>" in shown and "<pre>the last</pre>" in models
    assert "not measured with this number of calls" in models
    assert models.count("<canvas") == 1


def test_a_reader_moves_the_slider(dom):
    shown = dom(then='slider.value = 1; slider.dispatchEvent(new Event("input"));')
    assert "<output>16</output>" in shown and "<pre>the last</pre>" in shown


def test_another_address_on_the_same_page(dom):
    shown = dom(then='location.hash = "#16"; dispatchEvent(new Event("hashchange"));')
    assert "<output>16</output>" in shown


def test_pixels(dom):
    """One shade is ink on paper; three are the colours that they are."""
    look = """
        const [c] = document.querySelectorAll("canvas");
        document.title = [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data].join(" ");
    """
    assert "<title>255 255 255 255 0 0 0 255 128 128 128 255 191 191 191 255</title>" in dom(then=look)
    assert "<title>255 0 0 255 0 128 255 255</title>" in dom("#16", then=look)


def test_a_phone_scrolls_the_table_and_not_the_page(dom):
    look = """
        const style = getComputedStyle(document.querySelector(".charts"));
        const columns = style.gridTemplateColumns.split(" ").length;
        document.title = [document.documentElement.scrollWidth, innerWidth, columns].join(" ");
    """
    title = re.search("<title>(.*?)</title>", dom(width=500, then=look)).group(1)
    page_width, width, columns = map(int, title.split())
    assert page_width <= width and columns == 1


def test_numbers_with_errors():
    assert with_error(1.23456, 0.0567) == "1.235 ± 0.057"
    assert with_error(123.456, 12.3) == "123 ± 12"
    assert with_error(0.5, float("nan")) == "0.5"
    assert with_error(1.0, float("inf")) == "1 ± inf"
    assert with_error(1.0, 0.0) == "1 ± 0"
    assert with_error(0.1, 9.8e-18) == "0.1 ± 0"  # of equal values, added up
    assert with_error(None, None) == ""
