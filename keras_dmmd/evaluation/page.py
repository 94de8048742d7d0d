"""One self-contained HTML page of a report: no script, font or picture from elsewhere."""

import html
import importlib.resources
import io
import json

from keras_dmmd.evaluation.report import base_temperature
from keras_dmmd.optional import package

# Okabe & Ito: told apart by colour-blind readers too, and in grey by their markers.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
MARKERS = "osD^vPX"
# What each figure says, and which way is better.
NOTES = {
    "frechet_distance": "distance to real data in the features of a classifier; lower is better",
    "kernel_distance": "the same without bias from the number of samples; lower is better",
    "fcd": "Fréchet ChemNet Distance; lower is better",
    "validity": "share of strings that are molecules; higher is better",
    "bits_per_character": "bits that a reference model needs; lower is better at equal entropy",
    "generative_perplexity": "of a reference model; lower is better at equal entropy",
    "unigram_entropy": "nats within a sample; as that of data is best",
    "centered": "gradient moment; about 0 is best",
    "mauve": "higher is better",
}
PERPLEXITIES = ("bits_per_character", "generative_perplexity")


def page(report):
    """The page as a string."""
    template = importlib.resources.files("keras_dmmd.evaluation").joinpath("page.html")
    return (
        template.read_text(encoding="utf-8")
        .replace("{{title}}", html.escape(report.title))
        .replace("{{charts}}", "\n".join(_charts(report)))
        .replace("{{table}}", _table(report.table()))
        .replace("{{facts}}", _facts(report))
        # Markup within samples must not end the script that they stand in.
        .replace("{{samples}}", json.dumps(report.shown).replace("<", "\\u003c"))
    )


def _facts(report):
    settings, machine = report.settings, report.machine
    facts = [
        f"{settings['samples']:,} samples a cell; seeds {', '.join(map(str, settings['seeds']))}; "
        "± the standard error over seeds",
        ", ".join(f"{k} {v}" for k, v in machine.items()),
        "metrics: " + ", ".join(settings["metrics"]),
    ]
    return "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)


def _table(lines):
    header, *rows = ([html.escape(cell) for cell in line] for line in lines)
    head = "".join(f"<th>{cell.replace('_', ' ')}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _charts(report):
    """A figure element with an SVG for everything there is to show."""
    models = [name for name in dict.fromkeys(row["model"] for row in report.rows) if name != "data"]
    base = base_temperature(report.settings["temperatures"])
    plain = [row for row in report.rows if row["model"] != "data" and row["temperature"] == base]
    data = next((row for row in report.rows if row["model"] == "data"), {})
    charts = []
    for figure in report.figures:
        lines = {
            name: [
                (row["steps"], row[figure], row.get(f"{figure}_error"))
                for row in sorted(plain, key=lambda row: row["steps"])
                if row["model"] == name and figure in row
            ]
            for name in models
        }
        title, note = figure.replace("_", " "), NOTES.get(figure, "")
        charts.append(
            _chart(f"{title} by network calls", note, lines, "network calls", data.get(figure))
        )
    times = {
        name: [
            (row["steps"], 1e3 * row["seconds_per_sample"], None)
            for row in sorted(plain, key=lambda row: row["steps"])
            if row["model"] == name
        ]
        for name in models
    }
    note = "wall-clock milliseconds a sample, in batches as generate() makes them"
    charts.append(_chart("time by network calls", note, times, "network calls"))
    charts += _frontier(report, data)
    entropies = {
        f"{row['model']}, {row['steps']} calls": [
            (i / row["steps"], value, None) for i, value in enumerate(row["step_entropies"])
        ]
        for row in plain
        if row.get("step_entropies") and row["steps"] > 1
    }
    if entropies:
        note = "nats of the prediction of an open token, from pure noise to the last call"
        charts.append(
            _chart(
                "entropy of the predictions by step",
                note,
                entropies,
                "share of the calls done",
                log=False,
            )
        )
    return charts


def _frontier(report, data):
    """Perplexity against entropy, a line through the temperatures of a model and number of calls."""
    name = next((name for name in PERPLEXITIES if name in report.figures), None)
    if name is None or "unigram_entropy" not in report.figures:
        return []
    lines = {}
    for row in sorted(report.rows, key=lambda row: row["temperature"]):
        if row["model"] != "data":
            point = (row["unigram_entropy"], row[name], row.get(f"{name}_error"))
            lines.setdefault(f"{row['model']}, {row['steps']} calls", []).append(point)
    if data:
        lines["data"] = [(data["unigram_entropy"], data[name], data.get(f"{name}_error"))]
    note = "a line through the temperatures; lower at the entropy of the data is better"
    title = f"{name.replace('_', ' ')} and entropy"
    return [_chart(title, note, lines, "unigram entropy, nats", log=False)]


def _chart(title, note, lines, xlabel, level=None, log=True):
    """Lines `{name: [(x, y, error)]}` as a figure element; `level` is that of real data."""
    matplotlib = package("matplotlib", "The page of a report", "matplotlib")
    figure_class = package("matplotlib.figure", "The page of a report", "matplotlib").Figure
    style = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}
    with matplotlib.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        figure = figure_class(figsize=(4.6, 3.0), layout="constrained")
        axis = figure.subplots()
        for i, (name, points) in enumerate(lines.items()):
            if points:
                x, y, errors = zip(*points, strict=True)
                axis.errorbar(
                    x,
                    y,
                    yerr=[0.0 if e is None or e != e else e for e in errors],
                    color=COLORS[i % len(COLORS)],
                    marker=MARKERS[(i + i // len(COLORS)) % len(MARKERS)],
                    markersize=4,
                    linewidth=1.4,
                    capsize=2,
                    label=name,
                )
        if level is not None:
            axis.axhline(level, color="#666666", linestyle=":", label="data")
        if log:
            axis.set_xscale("log", base=2)
            ticks = sorted({x for points in lines.values() for x, *_ in points})
            axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axis.minorticks_off()
        axis.set_xlabel(xlabel)
        axis.margins(x=0.06)
        if len(lines) > 1 or level is not None:
            axis.legend(frameon=False, fontsize="small")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(
        "<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1
    )
    caption = f"<b>{html.escape(title)}</b> {html.escape(note)}"
    return f"<figure><figcaption>{caption}</figcaption>{svg}</figure>"
