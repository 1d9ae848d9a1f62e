"""How a row is drawn, as plain data for plotly.js: marks, their legend, error bars, axes.

All charts use one code: colour and shape show the precision (in the FLOPs chart the shape shows the method), the fill
shows the confidence. Nothing is shown by colour alone. The colours are Okabe and Ito's, without black and yellow: black
is invisible on a dark page, yellow on a white one.
"""

from collections.abc import Sequence
from typing import Any, get_args

from orchestrator.report.quantities import Figure, Row
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
FILLS = {"high": "", "medium": "-open-dot", "low": "-open"}
"""Solid, a ring with a dot, an empty ring: they differ in grey print as well."""


def precisions(rows: Sequence[Row], indices: Sequence[int]) -> list[str]:
    """The precisions of these rows, in the order of `PRECISIONS`."""
    present = {rows[i]["precision"] for i in indices}
    return [precision for precision in PRECISIONS if precision in present]


def fill(figure: Figure) -> str:
    """The suffix of a mark's symbol that shows the figure's confidence."""
    return FILLS[figure.confidence] if figure.confidence else ""


def precision_trace(precision: str, points: Sequence[tuple[Any, Any, int]], symbols: Sequence[str]) -> dict[str, Any]:
    """The marks of one precision, as a trace. Points are (x, y, row)."""
    return {
        "type": "scatter", "mode": "markers", "name": precision, "legendgroup": precision, "showlegend": False,
        "x": [x for x, _, _ in points], "y": [y for _, y, _ in points], "rows": [i for _, _, i in points],
        "marker": {"color": COLOURS[precision], "size": 11, "line": {"width": 1.5}, "symbol": symbols},
    }  # fmt: skip


def legend_entries(
    traces: Sequence[dict[str, Any]], figures: Sequence[Figure], *, methods: bool = False
) -> list[dict[str, Any]]:
    """Legend entries as traces without points. Plotly's own would show the fill of each trace's first mark."""
    names = [trace["name"] for trace in traces]
    entries = [(name, "circle" if methods else SHAPES[name], COLOURS[name], name) for name in names]
    if methods:
        used = {figure.method for figure in figures}
        entries += [(f"by {m}", s, "ink", "") for m, s in METHOD_SHAPES.items() if m in used]
    graded = {figure.confidence for figure in figures}
    entries += [
        (f"{grade} confidence", f"circle{suffix}", "ink", "") for grade, suffix in FILLS.items() if grade in graded
    ]
    return [
        {"type": "scatter", "mode": "markers", "name": name, "legendgroup": group or name,
         "x": [None], "y": [None], "rows": [None], "hoverinfo": "skip",
         "marker": {"symbol": symbol, "color": colour, "size": 11, "line": {"width": 1.5}}}
        for name, symbol, colour, group in entries
    ]  # fmt: skip


def error_bars(figures: Sequence[Figure], factor: float) -> dict[str, Any]:
    """95 % intervals as error bars, clipped at half and at double the value, which keeps the chart readable."""
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
    """An axis, logarithmic if the values span more than a decade."""
    present = [value for value in values if value]
    spread = max(present) / min(present) if present else 1.0
    scale = {"type": "log", "dtick": "D2"} if spread > 10 else {"type": "linear"}  # D2: labels at 1, 2 and 5
    return {**scale, "title": {"text": title}}
