"""One self-contained HTML page of a report: no script, font or picture from elsewhere."""

import html
import importlib.resources
import io
import json
import re

from keras_dmmd.evaluation import plots
from keras_dmmd.optional import package

MARK = re.compile(r"\{\{(\w+)\}\}")  # of the template


def page(report):
    """The page as a string."""
    template = importlib.resources.files("keras_dmmd.evaluation").joinpath("page.html")
    parts = {
        "title": html.escape(report.title),
        "charts": "\n".join(_charts(report)),
        "table": _table(report.table()),
        "facts": _facts(report),
        # Markup within samples must not end the script that they stand in.
        "samples": json.dumps(report.shown).replace("<", "\\u003c"),
    }
    # All at once: a name that looks like a mark of the template stays what it is.
    return MARK.sub(lambda mark: parts[mark[1]], template.read_text(encoding="utf-8"))


def _facts(report):
    settings, machine = report.settings, report.machine
    facts = [
        f"{settings['samples']:,} samples per cell; seeds {', '.join(map(str, settings['seeds']))}; "
        "± the standard error over seeds",
        f"charts by network calls are at temperature {report.base_temperature:g}",
        ", ".join(
            f"{k} {v}" for k, v in {**machine, **machine.get("versions", {})}.items() if k != "versions"
        ),
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
    charts = []
    for figure in report.figures:
        note = report.note(figure)
        if not note.get("chart", True):
            continue
        title = note.get("title") or figure.replace("_", " ")
        charts.append(
            _chart(
                f"{title} by network calls",
                note.get("text", ""),
                report.lines(figure),
                level=report.of_data(figure),
                log_y=note.get("scale") == "log",
            )
        )
    note = "wall-clock milliseconds per sample, in batches as generate() makes them"
    times = report.lines("seconds_per_sample", scale=1e3)
    charts.append(_chart("time by network calls", note, times))
    pairs = [(name, report.note(name).get("against")) for name in report.figures]
    charts += [_frontier(report, *pair) for pair in pairs if pair[1] in report.figures]
    return charts + _entropies(report)


def _entropies(report):
    """Entropy of the predictions by step, a chart per model and a line per number of calls."""
    lines = {}
    for row in report.base_rows:
        entropies = row.get("step_entropies") or []
        if len(entropies) > 1:
            points = [(i / len(entropies), y, None) for i, y in enumerate(entropies)]
            lines.setdefault(report.label(row), {})[f"{row['steps']} calls"] = points
    note = "nats of the prediction of an open token, from pure noise to the last call"
    return [
        _chart(f"{model}: entropy by step", note, own, xlabel="share of the calls done", log=False)
        for model, own in lines.items()
    ]


def _frontier(report, name, against):
    """One figure against another, through temperatures or through calls, whichever are more."""
    rows = report.model_rows
    calls, temperatures = ({row[key] for row in rows} for key in ("steps", "temperature"))
    through, per_line = "temperature", "steps"
    if len(calls) >= len(temperatures):
        through, per_line = per_line, through
    unit = {"temperature": "temperature {:g}", "steps": "{} calls"}[per_line]
    lines = {}
    for row in sorted(rows, key=lambda row: row[through]):
        point = (row[against], row[name], row.get(f"{name}_error"))
        lines.setdefault(f"{report.label(row)}, {unit.format(row[per_line])}", []).append(point)
    entropy = report.of_data(against)
    if entropy is not None:
        lines["data"] = [(entropy, report.of_data(name), report.of_data(f"{name}_error"))]
    through = {"temperature": "temperatures", "steps": "numbers of calls"}[through]
    figure, other = name.replace("_", " "), against.replace("_", " ")
    note = f"a line through the {through}; lower at the {other} of the data is better"
    title = f"{figure} and {other.removeprefix('unigram ')}"
    return _chart(title, note, lines, xlabel=f"{other}, nats", log=False)


def _chart(title, note, lines, **options):
    """Lines as a figure element; `options` of `plots.draw`."""
    matplotlib = package("matplotlib", "The page of a report", "matplotlib")
    style = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}
    with matplotlib.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axis = plots.new_figure(4.6, 3.0)
        plots.draw(axis, lines, **options)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(
        "<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1
    )
    caption = f"<b>{html.escape(title)}</b> {html.escape(note)}"
    return f"<figure><figcaption>{caption}</figcaption>{svg}</figure>"
