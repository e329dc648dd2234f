"""The plots of a run, as SVG: the same figures give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.figures import Point, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: dict[str, object] = {"svg.hashsalt": "marquee", "svg.fonttype": "none", "font.size": 9}
_OURS, _THEIRS, _SLOW = "#3b6ea5", "#b0b7bf", "#d98a3d"
_PLAIN = "{x:,.0f}"
_WIDTH = 8.0  # inches, as all sizes here
_AXES = {
    "partitions": "partitions",
    "workers": "workers",
    "catalogue": "movies in the catalogue",
    "batch": "events a batch, at most",
    "history": "movies in each history",
}


def write_plots(
    stem: Path, rows: Sequence[Row], ceiling: float | None, points: Sequence[Point]
) -> list[Path]:
    """Write STEM-speed.svg, STEM-latency.svg and STEM-growth.svg, those that there are figures for; gives their paths."""
    from matplotlib import rc_context

    written = []
    with rc_context(_STYLE):  # type: ignore[arg-type]  # the names of settings are not plain strings to it
        if rows:
            written.append(_save(_speed(rows, ceiling), stem, "speed"))
        timed = [row for row in rows if row.latencies]
        if timed:
            written.append(_save(_latency(timed), stem, "latency"))
        if points:
            written.append(_save(_growth(points), stem, "growth"))
    return written


def _save(figure: "Figure", stem: Path, name: str) -> Path:
    path = stem.with_name(f"{stem.name}-{name}.svg")
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    return path


def _bars(rows: int) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 0.8 + 0.35 * rows))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _speed(rows: Sequence[Row], ceiling: float | None) -> "Figure":
    """Events a second, on a logarithmic scale: they differ by three orders of magnitude."""
    figure, axes = _bars(len(rows))
    ordered = sorted(rows, key=lambda row: row.rate.median)
    medians = [row.rate.median for row in ordered]
    spread = [
        [row.rate.median - row.rate.lowest for row in ordered],
        [row.rate.highest - row.rate.median for row in ordered],
    ]
    colours = [_OURS if row.is_ours else _THEIRS for row in ordered]
    bars = axes.barh([row.label for row in ordered], medians, xerr=spread, color=colours)
    axes.bar_label(bars, [f" {median:,.0f}" for median in medians])
    if ceiling:
        axes.axvline(ceiling, color=_SLOW, linestyle="--", label="Milvus alone")
        axes.legend(loc="lower right")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_PLAIN)
    axes.set_xlabel("events a second")
    return figure


def _latency(rows: Sequence[Row]) -> "Figure":
    """From the median to the 99th percentile, at three rates."""
    figure, axes = _bars(sum(len(row.latencies) for row in rows))
    labels: list[str] = []
    for row in rows:
        for name, (p50, p99) in row.latencies.items():
            place = len(labels)
            labels.append(f"{row.label}, {name}")
            axes.plot(
                [p50, p99], [place, place], color=_OURS if row.is_ours else _THEIRS, marker="|", linewidth=3
            )
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_PLAIN)
    axes.xaxis.set_minor_formatter(_PLAIN)
    axes.set_xlabel("milliseconds from event to committed result, p50 to p99")
    return figure


def _growth(points: Sequence[Point]) -> "Figure":
    """Events a second along each curve."""
    from matplotlib.figure import Figure

    curves = list(dict.fromkeys(point.curve for point in points))
    figure = Figure(figsize=(_WIDTH, 2.2 * len(curves)), layout="constrained")
    for axes, curve in zip(figure.subplots(len(curves), 1, squeeze=False)[:, 0], curves, strict=True):
        along = [point for point in points if point.curve == curve]
        for title in dict.fromkeys(_line(point) for point in along):
            line = [point for point in along if _line(point) == title]
            axes.plot(
                [point.x for point in line],
                [point.measured.events_per_second for point in line],
                marker="o",
                label=title,
            )
        axes.set_xlabel(_AXES[curve])
        axes.set_ylabel("events a second")
        axes.set_ylim(bottom=0)
        if curve in ("catalogue", "batch"):
            axes.set_xscale("log")
        axes.legend()
    return figure


def _line(point: Point) -> str:
    """Points with one name are joined: batches of each size are one line."""
    return "exact" if point.measured.contender.startswith("exact") else "Milvus"
