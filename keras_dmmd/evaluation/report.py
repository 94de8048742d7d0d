"""What a sweep found: a table, files, a page."""

import csv
import dataclasses
import json
import os

from keras_dmmd import backend, checks
from keras_dmmd.evaluation import plots
from keras_dmmd.evaluation.page import page
from keras_dmmd.files import read_json, replacing
from keras_dmmd.metrics.statistics import with_error

OWN = (
    "model",
    "sampler",
    "steps",
    "calls",
    "temperature",
    "seeds",
    "seconds_per_sample",
    "step_entropies",
)
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # how formulas begin in spreadsheets
DATA = "data"  # the name under which real data stand among the models


@dataclasses.dataclass
class Report:
    """The figures of a sweep.

    Attributes:
        title: of the page.
        settings: what was asked for, with a fingerprint of every model's weights and of the data.
        machine: device, backend, versions, policy.
        rows: a dict for each model, sampler, number of steps and temperature: `"model"`, `"sampler"`,
            `"steps"`, `"calls"` (those that samples took, the mean), `"temperature"`, `"seeds"`, of
            every figure its mean and `"<figure>_error"`, `"seconds_per_sample"`, `"step_entropies"`.
        shown: samples to look at.
        notes: of every figure what its metric says of it, a dict with the entries of
            `keras_dmmd.metrics.Note`.

    Example:

    ```python
    models = {"student": kd.from_preset("digits_masked_student")}
    metrics = [kd.metrics.UnigramEntropy()]
    kd.evaluate(models, [1, 2], metrics, samples=16, seeds=[0, 1], folder="runs/entropy")
    report = kd.evaluation.Report.load("runs/entropy")
    report.plot("unigram_entropy").figure.savefig("entropy.png")
    ```
    """

    title: str
    settings: dict
    machine: dict
    rows: list
    shown: dict
    notes: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for row in self.rows:  # of a file from before there were samplers
            row.setdefault("calls", row["steps"])

    @property
    def figures(self):
        """Names of what was measured, in order."""
        return without_errors({name: None for row in self.rows for name in row if name not in OWN})

    @property
    def base_temperature(self):
        """The one that charts by network calls are shown at: 1, or else the first."""
        temperatures = self.settings["temperatures"]
        return 1.0 if 1.0 in temperatures else temperatures[0]

    @property
    def base_rows(self):
        """The rows of models at the base temperature, by their number of calls."""
        rows = [row for row in self.model_rows if row["temperature"] == self.base_temperature]
        return sorted(rows, key=lambda row: row["calls"])

    @property
    def model_rows(self):
        """The rows that are of models, not of data."""
        return [row for row in self.rows if row["model"] != DATA]

    def of_data(self, figure):
        """The figure of real data in the place of samples, or `None`."""
        return next((row.get(figure) for row in self.rows if row["model"] == DATA), None)

    def label(self, row):
        """The name of a row's model, with its sampler where there are several."""
        several = len(self.settings.get("samplers", ())) > 1
        return f"{row['model']}, {row['sampler']}" if several else row["model"]

    def note(self, figure):
        """The note on a figure, a dict; empty for one of which nothing is said."""
        return self.notes.get(figure, {})

    def lines(self, figure, scale=1.0):
        """Of every model, by its label, `[(calls, mean, error)]` at the base temperature."""
        lines = {self.label(row): [] for row in self.model_rows}
        for row in self.base_rows:
            if row.get(figure) is not None:
                error = row.get(f"{figure}_error")
                point = (row["calls"], scale * row[figure], error and scale * error)
                lines[self.label(row)].append(point)
        return lines

    def save(self, folder):
        """Write `report.json`, `report.csv` and `report.html`; returns the path of the page.

        Of several processes the first writes.
        """
        folder = checks.path("folder", folder)
        paths = [os.path.join(folder, f"report.{kind}") for kind in ("json", "csv", "html")]
        if not backend.is_first():
            return paths[-1]
        names = [name for name in OWN if name != "step_entropies"]
        for figure in self.figures:
            names += [figure, f"{figure}_error"]
        with replacing(*paths) as (data, table, html):
            with open(data, "w") as file:
                json.dump(dataclasses.asdict(self), file, indent=1)
            with open(table, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(map(_no_formula, names))
                writer.writerows([_no_formula(row.get(name)) for name in names] for row in self.rows)
            with open(html, "w", encoding="utf-8") as file:
                file.write(page(self))
        return paths[-1]

    @classmethod
    def load(cls, folder):
        """From a folder that `save` wrote.

        Raises:
            ValueError: its `report.json` is no report.
            OSError: it has none.
        """
        path = os.path.join(checks.path("folder", folder), "report.json")
        content = read_json(path)
        kinds = {field.name: field.type for field in dataclasses.fields(cls)}
        wrong = {*kinds} ^ {*content, "notes"}
        wrong |= {name for name in {*kinds} & {*content} if not isinstance(content[name], kinds[name])}
        if wrong or not all(isinstance(row, dict) for row in content["rows"]):
            raise ValueError(
                f"The file {path!r} is no report: it must have "
                f"{', '.join(f'{name} ({kind.__name__})' for name, kind in kinds.items())}. "
                f"Wrong: {', '.join(sorted(wrong))[:200] or 'rows'}"
            )
        return cls(**content)

    def plot(self, figure, axis=None):
        """Draw a figure against the number of network calls, a line for each model; returns the axis.

        Args:
            figure: one of `figures`, or `"seconds_per_sample"`.
            axis: of matplotlib; a new one by default, whose `figure.savefig(path)` writes it.
        """
        checks.choice("figure", figure, [*self.figures, "seconds_per_sample"])
        if axis is None:
            _, axis = plots.new_figure(5.0, 3.4)
        elif not callable(getattr(axis, "errorbar", None)):
            raise ValueError(f"`axis` must be an axis of matplotlib. Received: {checks.shown(axis)}")
        log_y = self.note(figure).get("scale") == "log"
        plots.draw(axis, self.lines(figure), level=self.of_data(figure), log_y=log_y)
        axis.set_ylabel(figure.replace("_", " "), parse_math=False)
        return axis

    def table(self):
        """Cells as text: a header, and a row for every row."""
        several = len(self.settings.get("samplers", ())) > 1
        header = ["model", *(["sampler"] if several else []), "calls", "temperature"]
        lines = [[*header, *self.figures, "ms per sample"]]
        for row in self.rows:
            calls = row["calls"]
            cells = [row["model"], *([row.get("sampler") or ""] if several else [])]
            cells += ["" if calls is None else f"{calls:.4g}", f"{row['temperature']:g}"]
            cells += [with_error(row.get(f), row.get(f"{f}_error")) for f in self.figures]
            seconds = row.get("seconds_per_sample")
            lines.append([*cells, "" if seconds is None else f"{1e3 * seconds:.3g}"])
        return lines

    def __str__(self):
        lines = self.table()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )


def without_errors(names):
    """Names of figures without those that are the errors of others."""
    errors = {f"{name}_error" for name in names}
    return [name for name in names if name not in errors]


def _no_formula(value):
    """A cell that a spreadsheet shows and does not compute, where a text looks like a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
