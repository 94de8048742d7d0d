"""Metrics that gather batch by batch, on the host, in float64."""

import dataclasses
import functools

import keras
import numpy as np

from keras_dmmd import checks
from keras_dmmd.fingerprints import code_hash


@dataclasses.dataclass(frozen=True)
class Note:
    """What a report should know of a figure.

    Attributes:
        text: what it says, and which way is better.
        title: its name in a report, by default that of the figure.
        scale: `"linear"`, or `"log"` for what is positive and falls by factors.
        chart: whether it has a chart of its own.
        against: the name of a figure beside which alone it means something: there is a chart of both.

    Example:

    ```python
    note = kd.metrics.Note("mean grey level; as that of data is best", title="Brightness")
    kd.metrics.SampleScore(lambda ids: ids.mean(), "brightness", notes={"brightness": note})
    ```
    """

    text: str = ""
    title: str = None
    scale: str = "linear"
    chart: bool = True
    against: str = None

    def __post_init__(self):
        for name in ("text", "title", "against"):
            if getattr(self, name) is not None:
                checks.text(name, getattr(self, name))
        checks.choice("scale", self.scale, ("linear", "log"))
        checks.flag("chart", self.chart)


class StreamingMetric(keras.metrics.Metric):
    """A metric of samples whose sums are float64 numpy on every backend.

    Keras keeps the sums of its metrics in variables, which are float32 on JAX. A subclass gathers
    named numbers, one per independent draw, with `gather`; `result` is their means, and under
    `"<name>_error"` the standard errors of these.

    Args:
        name: of the metric.

    Attributes:
        note: the `Note` on its one figure, where there is but one.
        judge: the model by which it judges, a Keras model that must not be one of those it judges, or
            `None`.

    Example:

    ```python
    class Brightness(kd.metrics.StreamingMetric):
        '''The mean grey level of an image.'''

        note = kd.metrics.Note("mean grey level; as that of data is best")

        def update_state(self, samples, data=None):
            self.gather(**{self.name: samples.mean(axis=1)})

    (images, _), _ = kd.datasets.load_digits()
    kd.metrics.measure([Brightness(name="brightness")], images)  # with a standard error
    ```
    """

    note = Note()
    judge = None

    def __init__(self, name=None):
        super().__init__(name=None if name is None else checks.text("name", name))
        self._gathered = {}

    def gather(self, **values):
        """Add draws, `(n,)` each, to what is known of a name."""
        for name, new in values.items():
            new = np.atleast_1d(np.asarray(new, "float64"))
            if not np.isfinite(new).all():
                raise ValueError(f"{self.name}: {name!r} has values that are not finite.")
            count, mean, squares = self._gathered.get(name, (0, 0.0, 0.0))
            # Chan, Golub & LeVeque (1979): sums about the mean lose no digits to its square.
            total = count + len(new)
            shift = new.mean() - mean
            squares += ((new - new.mean()) ** 2).sum() + shift**2 * count * len(new) / total
            self._gathered[name] = (total, mean + shift * len(new) / total, squares)

    def result(self):
        """A dict of floats."""
        if not self._gathered:
            raise ValueError(f"{self.name} has seen no samples: call `update_state` first.")
        result = {}
        for name, (count, mean, squares) in self._gathered.items():
            error = (squares / (count - 1) / count) ** 0.5 if count > 1 else float("nan")
            result |= {name: float(mean), f"{name}_error": float(error)}
        return result

    def reset_state(self):
        self._gathered = {}

    def notes(self):
        """A `Note` on each figure, by its name."""
        return {self.name: self.note}

    def check(self, samples, length, has_data):
        """Raise a `ValueError` where so many samples of a length, with data or without, will not do.

        Called before anything is sampled.
        """

    def fingerprint(self):
        """What tells this metric from another, JSON: a sweep goes on with the same ones only."""
        return sorted(self.get_config().items())

    def get_config(self):
        return {"name": self.name}


def measure(metrics, samples, data=None):
    """The figures of a list of metrics on samples, a dict of floats.

    Raises:
        ValueError: two metrics give a figure of one name.

    Example:

    ```python
    tokens = kd.from_preset("digits_masked_student").generate(64, steps=4, seed=0)
    kd.metrics.measure([kd.metrics.UnigramEntropy(), kd.metrics.Diversity(n=2)], tokens)
    ```
    """
    return measure_by(lambda work: work(), metrics, samples, data)


def measure_by(call, metrics, samples, data):
    """`measure`, where `call(work)` is what `work()` returns for a metric."""

    def figures_of(metric):
        metric.reset_state()
        metric.update_state(samples, data)
        return {name: float(value) for name, value in metric.result().items()}

    figures = {}
    for metric in checks.instances("metrics", metrics, StreamingMetric):
        found = call(functools.partial(figures_of, metric))
        twice = sorted(found.keys() & figures.keys())
        if twice:
            raise ValueError(f"Two metrics give a figure {twice[0]!r}: name them apart.")
        figures |= found
    return figures


class SampleScore(StreamingMetric):
    """Any function of all samples as a metric.

    Args:
        function: of ids `(n, length)`; returns a number, `(mean, error)`, or a dict of such.
        name: of the metric, and of its number where the function gives no names.
        mark: text that tells one score from another, for sweeps that go on; by default the function's
            code and defaults. What the function takes from around it, data for instance, or an object
            that is called holds, is for `mark` to tell.
        notes: what reports should say of its figures: a dict of their names to texts or `Note`s.

    Example:

    ```python
    brightness = kd.metrics.SampleScore(lambda ids: ids.mean(), "brightness")
    tokens = kd.from_preset("digits_masked_student").generate(64, steps=4, seed=0)
    kd.metrics.measure([brightness], tokens)  # {"brightness": ...}
    ```
    """

    def __init__(self, function, name, mark=None, notes=None):
        super().__init__(name=checks.text("name", name))
        self.function = checks.function("function", function)
        if not isinstance(notes, (dict, type(None))):
            raise ValueError(f"`notes` must be a dict of notes. Received: notes={checks.shown(notes)}")
        self._notes = {
            figure: note if isinstance(note, Note) else Note(note)
            for figure, note in (notes or {}).items()
        }
        self.mark = code_hash(function) if mark is None else mark
        self.reset_state()

    def update_state(self, samples, data=None):
        self._parts.append(checks.rows("samples", samples))

    def result(self):
        if not sum(map(len, self._parts)):
            raise ValueError(f"{self.name} has seen no samples: call `update_state` first.")
        return checks.called("function", self._figures, np.concatenate(self._parts))

    def _figures(self, ids):
        found = self.function(ids)
        found = found if isinstance(found, dict) else {self.name: found}
        result = {}
        for name, value in found.items():
            mean, *error = value if isinstance(value, tuple) else (value,)
            result |= {name: float(mean), **{f"{name}_error": float(e) for e in error}}
        return result

    def reset_state(self):
        self._parts = []

    def notes(self):
        return self._notes

    def fingerprint(self):
        return [self.name, self.mark]
