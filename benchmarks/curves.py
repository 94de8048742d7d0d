"""Curves of figures by network calls, as the pictures of several benchmarks draw them."""


def curve(axis, rows, figure, **style):
    """A model's figure with its errors, of rows with `calls`, `figure` and `figure_error`."""
    axis.errorbar(
        [row["calls"] for row in rows],
        [row[figure] for row in rows],
        [row[f"{figure}_error"] or 0.0 for row in rows],  # none of a single value
        marker="o",
        markersize=3,
        capsize=2,
        **style,
    )


def axis_of_calls(axis, calls):
    """Numbers of calls from left to right, each as far from its double."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(calls, calls)
    axis.minorticks_off()
    axis.set_xlabel("network calls")
    axis.grid(alpha=0.3)
