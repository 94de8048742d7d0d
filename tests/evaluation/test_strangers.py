"""Names and titles from strangers: on the page, in the CSV and in charts they are only text."""

import csv
import html.parser
import json
import warnings

import pytest

import keras_dmmd as kd
from keras_dmmd import metrics
from keras_dmmd.evaluation import Report, plots
from keras_dmmd.evaluation.page import _chart, page
from tests.builders import small_model
from tests.evaluation.test_page import row

pytestmark = pytest.mark.plain
pytest.importorskip("matplotlib")
NAMES = [
    *("{{samples}}", "{{table}}", "{{title}}", "{{nothing}}", "{{", "\\1 \\g<0>"),
    '" onmouseover="alert(1)" x="',
    "<script>alert(1)</script>",
    "--><svg onload=alert(1)>",
    "</title><b>",
    *("$\\frac$", "$x", "$$", "a_b", "_hidden", "<&>'\""),
    *("constructor", "__proto__", "toString", "7"),
    *("=1+1", "+1", "-1", "@SUM(A1)", "＝1", "=HYPERLINK(\"http://x\",\"y\")", "a,b;c\"d"),
    *("naïve 🦆 中", "ab\u202edc", "\ufeffx"),
]  # fmt: skip


def report(name):
    """A sweep of two models of which one, its figure, its sampler and the page have this name."""
    timed = {"seconds_per_sample": 0.002, "step_entropies": [2.0, 1.0], "calls": 4, "sampler": name}
    rows = [
        row("data", None, 1.0, 2.7, 1.6, **{name: 0.1}),
        row(name, 4, 1.0, 2.6, 4.5, **timed, **{name: -0.2, f"{name}_error": 0.1}),
        row("other", 4, 1.0, 2.6, 4.5, **timed, **{name: 0.2}),
    ]
    settings = {"samples": 10, "seeds": [0], "temperatures": [1.0], "metrics": [name]}
    settings["samplers"] = {name: "", "ancestral": ""}
    shown = {"grids": {}, "samples": {name: {"4": [name]}}}
    notes = {name: {"text": name, "against": "unigram_entropy", "title": name}}
    return Report(name, settings, {"backend": name}, rows, shown, notes)


class Page(html.parser.HTMLParser):
    """What a browser finds in a page: elements with their attributes, and the texts within them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


class Blank:
    """A figure that takes no time to draw."""

    def savefig(self, file, **kwargs):
        file.write("<svg ></svg>")


@pytest.fixture
def blank(monkeypatch):
    monkeypatch.setattr(plots, "new_figure", lambda *size: (Blank(), None))
    monkeypatch.setattr(plots, "draw", lambda *args, **kwargs: None)


@pytest.fixture
def plain(blank):
    return Page(page(report("plain")))


def test_names_in_a_chart():
    """Every one of them in one legend, and as the names of axis, figure and chart."""
    with warnings.catch_warnings():
        # Of letters that the fonts of charts lack, and of a legend of thirty lines.
        warnings.filterwarnings("ignore", message="Glyph|constrained_layout")
        lines = {name: [(1, 2.0, None), (2, 3.0, 0.1)] for name in NAMES}
        found = Page(_chart(NAMES[0], NAMES[1], lines, xlabel="$\\frac$", level=1.0))
    texts = [text.strip() for text in found.texts["text"]]
    assert {"$\\frac$", "data", *(name.strip() for name in NAMES)} <= set(texts)
    axis = report("$\\frac$").plot("$\\frac$")
    axis.figure.canvas.draw()
    assert axis.get_ylabel() == "$\\frac$"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_on_the_page(name, plain):
    found = Page(page(report(name)))
    assert found.texts["title"] == [name] and found.texts["h1"] == [name]
    assert name in found.texts["td"]
    shown = json.loads("".join(found.texts["script"][:1]))
    assert list(shown["samples"]) == [name]
    # No element and no attribute that a plain name does not give.
    for kind in ("script", "b", "svg", "figure", "td", "h1"):
        count = sum(tag == kind for tag, _ in found.elements)
        assert count == sum(tag == kind for tag, _ in plain.elements), kind
    known = {attribute for _, attributes in plain.elements for attribute in attributes}
    assert {attribute for _, attributes in found.elements for attribute in attributes} <= known
    labels = {attributes.get("aria-label") for _, attributes in found.elements}
    assert f"{name} by network calls" in labels


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_formula_in_the_csv(name, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_dmmd.evaluation.report.page", lambda report: "")
    report(name).save(tmp_path)
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        header, _, line, _ = list(csv.reader(file))
    for cell in (*header, *line):
        if not cell.startswith("-0.2"):  # a number
            assert not cell.startswith(tuple("=+-@\t\r＝＋－＠"))
    assert line[0].removeprefix("'") == name and header[-2].removeprefix("'") == name
    assert float(line[header.index("unigram_entropy")]) == 2.6


def no_sampling(*args, **kwargs):
    raise AssertionError("something was sampled")


def sweep(monkeypatch, models, **kwargs):
    monkeypatch.setattr(kd.DiffusionModel, "generate", no_sampling)
    arguments = {"steps": [1], "metrics": [metrics.UnigramEntropy()], "samples": 4, "verbose": 0}
    return kd.evaluate(models, **{**arguments, **kwargs})


ODD = [5, None, 2.5, b"x", ("a",), "\ud800", "a\x00", "a\nb", "\x1b[31m", "\x85"]


@pytest.mark.parametrize("odd", ODD)
def test_odd_names_are_refused_before_anything_is_sampled(odd, monkeypatch):
    model = small_model()
    for message, arguments in {
        "`models` must be a string": {"models": {odd: model}},
        "`title` must be a string": {"models": {"model": model}, "title": odd},
        "`sampler name` must be a string": {"models": {"model": model}, "samplers": {odd: "ancestral"}},
    }.items():
        with pytest.raises(ValueError, match=message):
            sweep(monkeypatch, **arguments)
    if isinstance(odd, str):
        with pytest.raises(ValueError, match="must be (a string|text)"):
            sweep(monkeypatch, {"model": model}, metrics=[metrics.UnigramEntropy(name=odd)])


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", '{"title": 1}', "[" * 10_000])
def test_files_that_are_no_reports(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match="report.json'"):
        Report.load(tmp_path)


def test_reports_with_other_parts(tmp_path):
    good = vars(report("x"))
    (tmp_path / "report.json").write_text(json.dumps(good))
    assert Report.load(tmp_path) == report("x")
    odd = [("more", 1), ("title", 5), ("rows", {}), ("rows", [5]), ("notes", []), ("shown", None)]
    for name, value in odd:
        (tmp_path / "report.json").write_text(json.dumps({**good, name: value}))
        with pytest.raises(ValueError, match=f"report.json' is no report.*Wrong: {name}"):
            Report.load(tmp_path)
    del good["rows"]
    (tmp_path / "report.json").write_text(json.dumps(good))
    with pytest.raises(ValueError, match="report.json' is no report.*Wrong: rows"):
        Report.load(tmp_path)
