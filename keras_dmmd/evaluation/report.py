"""What a sweep found: a table, files, a page."""

import csv
import dataclasses
import json
import os

OWN = ("model", "steps", "temperature", "seeds", "seconds_per_sample", "step_entropies")


@dataclasses.dataclass
class Report:
    """The figures of a sweep.

    Attributes:
        title: of the page.
        settings: what was asked for, with a mark of every model's weights and of the data.
        machine: device, backend, versions, policy.
        rows: a dict a model, number of calls and temperature: `"model"`, `"steps"`, `"temperature"`,
            `"seeds"`, of every figure its mean and `"<figure>_error"`, `"seconds_per_sample"`,
            `"step_entropies"`.
        shown: samples to look at.
    """

    title: str
    settings: dict
    machine: dict
    rows: list
    shown: dict

    @property
    def figures(self):
        """Names of what was measured, in order."""
        names = {name: None for row in self.rows for name in row}
        return [name for name in names if name not in OWN and not name.endswith("_error")]

    def save(self, folder):
        """Write `report.json`, `report.csv` and `report.html`; returns the path of the page."""
        from keras_dmmd.evaluation.page import page

        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "report.json"), "w") as file:
            json.dump(dataclasses.asdict(self), file, indent=1)
        with open(os.path.join(folder, "report.csv"), "w", newline="") as file:
            names = ["model", "steps", "temperature", "seeds", "seconds_per_sample"]
            for figure in self.figures:
                names += [figure, f"{figure}_error"]
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self.rows)
        path = os.path.join(folder, "report.html")
        with open(path, "w", encoding="utf-8") as file:
            file.write(page(self))
        return path

    @classmethod
    def load(cls, folder):
        """From a folder that `save` wrote."""
        with open(os.path.join(folder, "report.json")) as file:
            return cls(**json.load(file))

    def plot(self, figure, axis=None):
        """Draw a figure against the number of network calls, a line a model; returns the axis.

        Args:
            figure: one of `figures`, or `"seconds_per_sample"`.
            axis: of matplotlib; a new one by default, whose `figure.savefig(path)` writes it.
        """
        from keras_dmmd.evaluation import plots

        if figure not in [*self.figures, "seconds_per_sample"]:
            raise ValueError(f"`figure` must be one of {self.figures}. Received: {figure!r}")
        if axis is None:
            _, axis = plots.new_figure(5.0, 3.4)
        level, log_y = plots.of_data(self, figure), figure in plots.DISTANCES
        plots.draw(axis, plots.by_calls(self, figure), level=level, log_y=log_y)
        axis.set_ylabel(figure.replace("_", " "))
        return axis

    def table(self):
        """Cells as text: a header, and a row for every row."""
        header = ["model", "calls", "temperature", *self.figures, "ms a sample"]
        lines = [header]
        for row in self.rows:
            cells = [row["model"], str(row["steps"] or ""), f"{row['temperature']:g}"]
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


def base_temperature(temperatures):
    """The one that figures are shown at: 1, or else the first."""
    return 1.0 if 1.0 in temperatures else temperatures[0]


def with_error(mean, error):
    """`1.234 ± 0.056`, with two digits of the error."""
    if mean is None:
        return ""
    if error is None or error != error:
        return f"{mean:.4g}"
    if error == 0:
        return f"{mean:.4g} ± 0"
    digits = max(0, 1 - int(f"{error:e}".split("e")[1]))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
