"""Rows -> charts, as the plain data that plotly.js draws. Each mark knows its row, so that the filter reaches it.

One code holds in every chart: colour and shape tell the precision (in the FLOPs chart the shape tells the method), the
filling tells the confidence. Neither is told by colour alone. Colours are Okabe and Ito's, its black and yellow
replaced: black is lost on a dark page, yellow on a white one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from orchestrator.report.answers import groups, pareto
from orchestrator.report.figures import (
    E2E,
    ENERGY,
    FLOPS,
    FLOPS_PER_S,
    MODEL_MEMORY,
    PEAK_MEMORY,
    THROUGHPUT,
    TPOT,
    Figure,
    Quantity,
    Row,
    Scale,
    scale,
)
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
SHAPES = dict(
    zip(
        PRECISIONS,
        ("circle", "star", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon"),
        strict=True,
    )
)
METHOD_SHAPES = dict(zip(get_args(FlopsMethod), ("circle", "square", "triangle-up"), strict=True))
FILLINGS = {"high": "", "medium": "-open-dot", "low": "-open", None: "-open"}
"""Solid, a ring with a dot, an empty ring: told apart in grey print as well."""
LATENCY_CELLS = 120
"""Cells that the latency chart draws at once: beyond it, their marks would lie on each other."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart with what a reader needs to judge it."""

    id: str
    title: str
    caption: str
    traces: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    """Why cells are not drawn, with how many for each reason."""
    cap: int | None = None
    """Cells drawn at most."""

    @property
    def drawn(self) -> int:
        """Cells that have a mark."""
        return len({i for trace in self.traces if trace.get("counts", True) for i in trace["rows"] if i is not None})


def charts(rows: Sequence[Row]) -> list[Chart]:
    """Every chart, in reading order; one without a single mark keeps its reasons and has no traces."""
    return [*_trade_off(rows), _cost(rows), *_latencies(rows), _memory(rows), _flops(rows)]


def _trade_off(rows: Sequence[Row]) -> list[Chart]:
    """Energy against throughput; without any energy, its reasons, and latency against throughput in its place."""
    energy = _scatter(
        rows, id="energy", title="Energy against throughput", x=THROUGHPUT, y=ENERGY, front=True,
        caption="Lower right is better: more tokens per second for fewer joules per token. The line joins the cells of"
        " one model, workload and device that no other such cell beats in both (the Pareto front).",
    )  # fmt: skip
    if energy.traces:
        return [energy]
    latency = TPOT if any(row["tpot_mean_s"] is not None for row in rows) else E2E
    stand_in = _scatter(
        rows, id="tradeoff", title=f"{latency.title} against throughput", x=THROUGHPUT, y=latency, front=True,
        caption="Lower right is better: more tokens per second for a shorter wait. The line joins the cells of one"
        " model, workload and device that no other such cell beats in both (the Pareto front).",
    )  # fmt: skip
    return [energy, stand_in]


def _cost(rows: Sequence[Row]) -> Chart:
    """What a token costs in each precision: joules, or where there are none, time."""
    figures = [ENERGY.of(row) for row in rows]
    if any(figure.value is not None for figure in figures):
        caption = "GPU energy per generated token of every cell, by the precision asked for."
        return _strip(rows, ENERGY, figures, caption)
    caption = (
        "Time per generated token of every cell (the inverse of its throughput), by the precision asked for:"
        " no cell has joules."
    )
    return _strip(rows, _TIME_COST, [_time_cost(row) for row in rows], caption)


_TIME_COST = Quantity(key="time_cost", title="Time per generated token", unit="s/token", column="output_tokens_per_s")


def _time_cost(row: Row) -> Figure:
    """Seconds a token, as the inverse of throughput; to first order the relative uncertainty is the same."""
    rate = THROUGHPUT.of(row)
    if not rate.value:
        return Figure(value=None, reason=rate.reason or "no token was generated")
    width = None if rate.half_width is None else rate.half_width / rate.value**2
    return Figure(value=1 / rate.value, half_width=width, basis=rate.basis, method=rate.method)


def _strip(rows: Sequence[Row], quantity: Quantity, figures: Sequence[Figure], caption: str) -> Chart:
    points = [(row["precision"], figure.value, i) for i, (row, figure) in enumerate(zip(rows, figures, strict=True))]
    kept = [(x, y, i) for x, y, i in points if y is not None]
    present = [precision for precision in PRECISIONS if any(x == precision for x, _, _ in kept)]
    traces = [
        {**_marks(rows, [point for point in kept if point[0] == precision], precision),
         "error_y": _bars([figures[i].half_width for x, _, i in kept if x == precision], 1.0)}
        for precision in present
    ]  # fmt: skip
    for trace in traces:
        trace["marker"]["symbol"] = [
            SHAPES[rows[i]["precision"]] + (FILLINGS[figures[i].confidence] if quantity.confidence else "")
            for i in trace["rows"]
        ]
    layout = {
        "xaxis": {"type": "category", "title": {"text": "precision"}, "categoryarray": present},
        "yaxis": {"type": "log", "title": {"text": f"{quantity.title} ({quantity.unit})"}},
        "showlegend": False,
    }
    missing = _reasons(figure for figure in figures if figure.value is None)
    return Chart(id="cost", title="Cost by precision", caption=caption, traces=traces, layout=layout, missing=missing)


def _latencies(rows: Sequence[Row]) -> list[Chart]:
    names = {"ttft": "TTFT (time to first token)", "itl": "ITL (inter-token latency)", "tpot": "TPOT (time per output token)"}
    return [_latency(rows, key, name) for key, name in names.items()]


def _latency(rows: Sequence[Row], key: str, name: str) -> Chart:
    """Three marks a cell on one upright line: median, 90th and 99th percentile."""
    measured = [i for i, row in enumerate(rows) if row[f"{key}_p50_s"] is not None]
    labels = _unique_labels(rows, measured)
    shapes = {"p50": "circle", "p90": "line-ew-open", "p99": "triangle-down"}
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers", "name": percentile, "rows": measured,
            "x": labels, "y": [1e3 * rows[i][f"{key}_{percentile}_s"] for i in measured],
            "marker": {"symbol": shape, "size": 10, "line": {"width": 2}, "color": ["ink"] * len(measured)
                       if percentile != "p50" else [COLOURS[rows[i]["precision"]] for i in measured]},
        }
        for percentile, shape in shapes.items()
    ]  # fmt: skip
    if measured:
        span = [1e3 * (rows[i][f"{key}_p99_s"] - rows[i][f"{key}_p50_s"]) for i in measured]
        traces[0]["error_y"] = {"type": "data", "symmetric": False, "array": span, "arrayminus": [0.0] * len(span), "width": 0}
    layout = {"xaxis": {"type": "category", "title": {"text": "cell"}, "automargin": True},
              "yaxis": {"title": {"text": f"{key.upper()} (ms)"}, "rangemode": "tozero"}}  # fmt: skip
    quantity = Quantity(key=key, title=key.upper(), unit="s", column=f"{key}_p50_s", why_null=TPOT.why_null)
    return Chart(
        id=f"latency-{key}", title=name, traces=traces if measured else [], layout=layout, cap=LATENCY_CELLS,
        caption="Over all requests of a cell's window: median (circle), 90th percentile (bar) and 99th (triangle)."
        " The upright line is the spread between median and 99th, not an uncertainty.",
        missing=_reasons(quantity.of(row) for row in rows if row[f"{key}_p50_s"] is None),
    )  # fmt: skip


def _memory(rows: Sequence[Row]) -> Chart:
    chart = _scatter(
        rows, id="memory", title="Memory", x=MODEL_MEMORY, y=PEAK_MEMORY,
        caption="Peak memory of the window against the loaded model's own. The distance to the dotted line of equality is"
        " what cache, activations and the runtime take. On a GPU the caching allocator says the peak; on a CPU it is the"
        " resident set of the whole process.",
    )  # fmt: skip
    sizes = [row["model_memory_mb"] for row in rows if row["model_memory_mb"] and row["peak_memory_mb"]]
    if sizes:
        ends = [min(sizes), max(sizes)]
        chart.traces.append(
            {"type": "scatter", "mode": "lines", "name": "equal", "x": ends, "y": ends, "rows": [None, None],
             "line": {"dash": "dot", "width": 1, "color": "ink"}, "hoverinfo": "skip", "counts": False}
        )  # fmt: skip
    return chart


def _flops(rows: Sequence[Row]) -> Chart:
    return _scatter(
        rows, id="flops", title="FLOPs by method", x=FLOPS, y=FLOPS_PER_S,
        shape=lambda row: METHOD_SHAPES[row["flops_method"]],
        caption="FLOPs of one inference (whole batch, prefill and every decode pass) against the FLOP/s achieved. Shape"
        " tells the method: circle calflops, square closed form from the architecture, triangle 2 x parameters x tokens.",
    )  # fmt: skip


def _scatter(
    rows: Sequence[Row],
    *,
    id: str,  # noqa: A002 (the word that the page's element has)
    title: str,
    caption: str,
    x: Quantity,
    y: Quantity,
    front: bool = False,
    shape: Callable[[Row], str] = lambda row: SHAPES[row["precision"]],
) -> Chart:
    """A mark for each row that has both figures, with an error bar for each interval; one trace a precision."""
    across, up = [x.of(row) for row in rows], [y.of(row) for row in rows]
    pairs = [(a.value, u.value, i) for i, (a, u) in enumerate(zip(across, up, strict=True))]
    kept = [(a, u, i) for a, u, i in pairs if a is not None and u is not None]
    units = scale(x, rows), scale(y, rows)
    traces = []
    for precision in (name for name in PRECISIONS if any(rows[i]["precision"] == name for _, _, i in kept)):
        members = [(a * units[0].factor, u * units[1].factor, i) for a, u, i in kept if rows[i]["precision"] == precision]
        trace = _marks(rows, members, precision)
        trace["marker"]["symbol"] = [
            shape(rows[i]) + (FILLINGS[up[i].confidence] if y.confidence else "") for _, _, i in members
        ]
        trace["error_x"] = _bars([across[i].half_width for _, _, i in members], units[0].factor)
        trace["error_y"] = _bars([up[i].half_width for _, _, i in members], units[1].factor)
        traces.append(trace)
    if front and kept:
        traces.append(_front(rows, {i: (a * units[0].factor, u * units[1].factor) for a, u, i in kept}))
    return Chart(
        id=id, title=title, caption=caption, traces=traces,
        layout={"xaxis": _axis(x, units[0]), "yaxis": _axis(y, units[1])},
        missing=_reasons(u if u.value is None else a for a, u in zip(across, up, strict=True) if None in (a.value, u.value)),
    )  # fmt: skip


def _marks(rows: Sequence[Row], points: Sequence[tuple[Any, float, int]], precision: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": precision,
        "x": [x for x, _, _ in points], "y": [y for _, y, _ in points], "rows": [i for _, _, i in points],
        "marker": {"color": COLOURS[precision], "size": 9, "line": {"width": 1.5}, "symbol": SHAPES[precision]},
    }  # fmt: skip


def _front(rows: Sequence[Row], at: dict[int, tuple[float, float]]) -> dict[str, Any]:
    """Every group's front as one trace, a gap between two groups. Its points are marks already: no second count."""
    trace: dict[str, Any] = {"type": "scatter", "mode": "lines", "name": "Pareto front", "hoverinfo": "skip",
                             "line": {"width": 1.5, "color": "ink", "shape": "vh"}, "counts": False,
                             "x": [], "y": [], "rows": [], "connectgaps": False}  # fmt: skip
    for group in groups(rows):
        for i in [*pareto([(*at[i], i) for i in group.members if i in at]), None]:
            trace["rows"].append(i)
            trace["x"].append(None if i is None else at[i][0])
            trace["y"].append(None if i is None else at[i][1])
    return trace


def _bars(half_widths: Sequence[float | None], factor: float) -> dict[str, Any]:
    return {
        "type": "data", "array": [None if w is None else w * factor for w in half_widths],
        "visible": any(half_widths), "thickness": 1, "width": 3,
    }  # fmt: skip


def _axis(quantity: Quantity, unit: Scale) -> dict[str, Any]:
    return {"type": "log", "title": {"text": f"{quantity.title} ({unit.unit})"}}


def _reasons(figures: Any) -> dict[str, int]:
    """How many figures are missing for each reason, the commonest first."""
    counts: dict[str, int] = {}
    for figure in figures:
        counts[figure.reason] = counts.get(figure.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _unique_labels(rows: Sequence[Row], indices: Sequence[int]) -> list[str]:
    """A cell's place on a category axis: plotly would lay two cells with one label on each other."""
    labels = [_label(rows[i]) for i in indices]
    seen: dict[str, int] = {}
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
    return [
        f"{label} {rows[i]['cell_id']}" if seen[label] > 1 else label for label, i in zip(labels, indices, strict=True)
    ]


def _label(row: Row) -> str:
    return f"{row['model']} {row['precision']} b{row['batch_size']} {row['input_tokens']}→{row['output_tokens']}"
