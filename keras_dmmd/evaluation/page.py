"""One self-contained HTML page of a report: no script, font or picture from elsewhere."""

import html
import importlib.resources
import io
import json

from keras_dmmd.evaluation import plots
from keras_dmmd.evaluation.report import base_temperature
from keras_dmmd.optional import package

# What each figure says, and which way is better.
NOTES = {
    "frechet_distance": "distance to real data in the features of a classifier; lower is better",
    "kernel_distance": "the same without bias from the number of samples; lower is better",
    "fcd": "Fréchet ChemNet Distance; lower is better",
    "validity": "share of strings that are molecules; higher is better",
    "bits_per_character": "bits that a reference model needs; lower is better at equal entropy",
    "generative_perplexity": "of a reference model; lower is better at equal entropy",
    "unigram_entropy": "nats within a sample; as that of data is best",
    "centered": "about 0 where samples are like data in all that the reference knows",
    "mauve": "higher is better",
}
TITLES = {"centered": "gradient moment"}
IN_THE_TABLE_ALONE = ("uncentered_samples", "uncentered_data")
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
        f"charts by network calls are at temperature {base_temperature(settings['temperatures']):g}",
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
        if figure in IN_THE_TABLE_ALONE:
            continue
        title, note = TITLES.get(figure, figure.replace("_", " ")), NOTES.get(figure, "")
        lines = plots.by_calls(report, figure)
        charts.append(
            _chart(
                f"{title} by network calls",
                note,
                lines,
                level=plots.of_data(report, figure),
                log_y=figure in plots.DISTANCES,
            )
        )
    note = "wall-clock milliseconds a sample, in batches as generate() makes them"
    times = plots.by_calls(report, "seconds_per_sample", scale=1e3)
    charts.append(_chart("time by network calls", note, times))
    charts += _frontier(report)
    return charts + _entropies(report)


def _entropies(report):
    """Entropy of the predictions by step, a chart a model and a line a number of calls."""
    base, lines = base_temperature(report.settings["temperatures"]), {}
    for row in report.rows:
        if row["temperature"] == base and row.get("step_entropies") and row["steps"] > 1:
            points = [(i / row["steps"], y, None) for i, y in enumerate(row["step_entropies"])]
            lines.setdefault(row["model"], {})[f"{row['steps']} calls"] = points
    note = "nats of the prediction of an open token, from pure noise to the last call"
    return [
        _chart(f"{model}: entropy by step", note, own, xlabel="share of the calls done", log=False)
        for model, own in lines.items()
    ]


def _frontier(report):
    """Perplexity against entropy, through temperatures or through calls, whichever are more."""
    name = next((name for name in PERPLEXITIES if name in report.figures), None)
    if name is None or "unigram_entropy" not in report.figures:
        return []
    rows = [row for row in report.rows if row["model"] != "data"]
    calls, temperatures = ({row[key] for row in rows} for key in ("steps", "temperature"))
    along, apart = "temperature", "steps"
    if len(calls) >= len(temperatures):
        along, apart = apart, along
    unit = {"temperature": "temperature {:g}", "steps": "{} calls"}[apart]
    lines = {}
    for row in sorted(rows, key=lambda row: row[along]):
        point = (row["unigram_entropy"], row[name], row.get(f"{name}_error"))
        lines.setdefault(f"{row['model']}, {unit.format(row[apart])}", []).append(point)
    entropy = plots.of_data(report, "unigram_entropy")
    if entropy is not None:
        error = plots.of_data(report, f"{name}_error")
        lines["data"] = [(entropy, plots.of_data(report, name), error)]
    through = {"temperature": "temperatures", "steps": "numbers of calls"}[along]
    note = f"a line through the {through}; lower at the entropy of the data is better"
    title = f"{name.replace('_', ' ')} and entropy"
    return [_chart(title, note, lines, xlabel="unigram entropy, nats", log=False)]


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
