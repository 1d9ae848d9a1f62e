"""How a row is drawn, as the plain data of plotly.js: marks, their legend, error bars, axes.

One code holds in every chart: colour and shape tell the precision (in the FLOPs chart the shape tells the method), the
filling tells the confidence. Neither is told by colour alone. Colours are Okabe and Ito's, its black and yellow
replaced: black is lost on a dark page, yellow on a white one.
"""

from collections.abc import Sequence
from typing import Any, get_args

from orchestrator.report.figures import Figure, Row
from workers.records import PRECISIONS, FlopsMethod

COLOURS = {
    "fp32": "#8a8a8a",
    "tf32": "#a6761d",
    "fp16": "#e69f00",
    "bf16": "#0072b2",
    "int8-bnb": "#009e73",
    "int4-bnb": "#d55e00",
    "int8-torchao": "#56b4e9",
    "fp8-torchao": "#cc79a7",
}
SHAPES: dict[str, str] = dict(
    zip(
        PRECISIONS,
        ("circle", "star", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon"),
        strict=True,
    )
)
METHOD_SHAPES: dict[str, str] = dict(zip(get_args(FlopsMethod), ("circle", "square", "triangle-up"), strict=True))
FILLINGS = {"high": "", "medium": "-open-dot", "low": "-open"}
"""Solid, a ring with a dot, an empty ring: told apart in grey print as well."""


def precisions(rows: Sequence[Row], indices: Sequence[int]) -> list[str]:
    """The precisions among these rows, in the vocabulary's order."""
    found = {rows[i]["precision"] for i in indices}
    return [precision for precision in PRECISIONS if precision in found]


def filling(figure: Figure) -> str:
    """What to append to a mark's symbol, so that it tells the figure's confidence."""
    return FILLINGS[figure.confidence] if figure.confidence else ""


def of_precision(precision: str, points: Sequence[tuple[Any, Any, int]], symbols: Sequence[str]) -> dict[str, Any]:
    """A trace of marks of one precision, each at (x, y) with its row."""
    return {
        "type": "scatter", "mode": "markers", "name": precision, "legendgroup": precision, "showlegend": False,
        "x": [x for x, _, _ in points], "y": [y for _, y, _ in points], "rows": [i for _, _, i in points],
        "marker": {"color": COLOURS[precision], "size": 11, "line": {"width": 1.5}, "symbol": symbols},
    }  # fmt: skip


def legend(
    traces: Sequence[dict[str, Any]], figures: Sequence[Figure], *, methods: bool = False
) -> list[dict[str, Any]]:
    """Legend entries without a mark: plotly would draw a trace's first mark there, whatever its filling says."""
    names = [trace["name"] for trace in traces]
    entries = [(n, "circle" if methods else SHAPES[n], COLOURS[n], n) for n in names]
    if methods:
        used = {figure.method for figure in figures}
        entries += [(f"by {m}", s, "ink", "") for m, s in METHOD_SHAPES.items() if m in used]
    graded = {figure.confidence for figure in figures}
    entries += [
        (f"{grade} confidence", f"circle{filling}", "ink", "") for grade, filling in FILLINGS.items() if grade in graded
    ]
    return [
        {"type": "scatter", "mode": "markers", "name": name, "legendgroup": group or name,
         "x": [None], "y": [None], "rows": [None], "hoverinfo": "skip",
         "marker": {"symbol": symbol, "color": colour, "size": 11, "line": {"width": 1.5}}}
        for name, symbol, colour, group in entries
    ]  # fmt: skip


def bars(figures: Sequence[Figure], factor: float) -> dict[str, Any]:
    """95 % intervals as error bars, cut at half and at double the figure: an unstable one would flatten all others."""
    arms = [_arms(figure, factor) for figure in figures]
    return {
        "type": "data", "symmetric": False, "array": [up for up, _ in arms], "arrayminus": [down for _, down in arms],
        "visible": any(up for up, _ in arms), "thickness": 1, "width": 3,
    }  # fmt: skip


def _arms(figure: Figure, factor: float) -> tuple[float | None, float | None]:
    if figure.value is None or figure.low is None or figure.high is None:
        return None, None
    high, low = min(figure.high, 2 * figure.value), max(figure.low, figure.value / 2)
    return (high - figure.value) * factor, (figure.value - low) * factor


def axis(title: str, values: Sequence[float | None]) -> dict[str, Any]:
    """Logarithmic where the figures span more than a decade."""
    present = [value for value in values if value]
    spread = max(present) / min(present) if present else 1.0
    kind = {"type": "log", "dtick": "D2"} if spread > 10 else {"type": "linear"}  # D2: labels at 1, 2 and 5
    return {**kind, "title": {"text": title}}
