"""Charts of a report's figures, with matplotlib."""

from keras_dmmd.optional import package

# Okabe & Ito: told apart by colour-blind readers too, and in grey by their markers.
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
MARKERS = "osD^vPX"


def draw(axis, lines, xlabel="network calls", level=None, log=True, log_y=False):
    """Lines `{name: [(x, y, error)]}` with error bars; `level` is that of real data.

    Names are text in which matplotlib reads nothing: no formula, no underscore that hides a line.
    """
    drawn = {}
    for i, (name, points) in enumerate(lines.items()):
        if points:
            x, y, errors = zip(*points, strict=True)
            drawn[name] = axis.errorbar(
                x,
                y,
                yerr=[0.0 if e is None or e != e else e for e in errors],
                color=COLORS[i % len(COLORS)],
                marker=MARKERS[(i + i // len(COLORS)) % len(MARKERS)],
                markevery=max(1, len(x) // 16),
                markersize=4,
                linewidth=1.4,
                capsize=2,
            )
    if level is not None:
        drawn["data"] = axis.axhline(level, color="#666666", linestyle=":")
    if log:
        axis.set_xscale("log", base=2)
        ticks = sorted({x for points in lines.values() for x, *_ in points})
        axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axis.minorticks_off()
    if log_y:
        ticker = package("matplotlib.ticker", "A chart of a report", "matplotlib")
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(ticker.NullLocator())
    axis.set_xlabel(xlabel, parse_math=False)
    axis.margins(x=0.06)
    if drawn and (len(lines) > 1 or level is not None):
        legend = axis.legend(drawn.values(), ["-"] * len(drawn), frameon=False, fontsize="small")
        for text, name in zip(legend.get_texts(), drawn, strict=True):
            text.set(text=name, parse_math=False)


def new_figure(width, height):
    """A matplotlib figure with one axis, drawn without a screen."""
    package("matplotlib", "A chart of a report", "matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
