"""Rows -> charts, as plain data for plotly.js. Each mark has its row's number, so that the page can filter it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.report import marks
from orchestrator.report.answers import groups, pareto
from orchestrator.report.numbers import scale
from orchestrator.report.quantities import (
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
)
from orchestrator.results.labels import format_settings, short_name, varying_settings

_SETTINGS_WIDTH = 30
"""The longest text of a cell's other settings in its label on an axis. Unit: characters."""
LATENCY_CELLS = 120
"""The most cells that a latency chart draws at once; the marks of more would overlap."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart, with its caption and the reasons for what it does not show."""

    id: str
    title: str
    caption: str
    traces: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    """Why cells are not plotted: reason -> number of cells."""
    cap: int | None = None
    """The most cells drawn at once; null if there is no limit."""

    @property
    def drawn(self) -> int:
        """The number of cells that have a mark."""
        return len({i for trace in self.traces if trace["mode"] == "markers" for i in trace["rows"] if i is not None})


def charts(rows: Sequence[Row]) -> list[Chart]:
    """Every chart, in reading order. A chart without any mark has no traces, only the reasons."""
    return [*_trade_off(rows), _cost(rows), *_latencies(rows), _memory(rows), _flops(rows)]


def _trade_off(rows: Sequence[Row]) -> list[Chart]:
    """Energy against throughput; if no cell has energy, also latency against throughput."""
    energy = _scatter(
        rows, id="energy", title="Energy against throughput", x=THROUGHPUT, y=ENERGY, front=True,
        caption="Lower right is better: more tokens per second for fewer joules per token. The line is the"
        " Pareto front: cells that no other cell of the same model, workload and device beats in both.",
    )  # fmt: skip
    if energy.traces:
        return [energy]
    latency = TPOT if any(row["tpot_mean_s"] is not None for row in rows) else E2E
    stand_in = _scatter(
        rows, id="tradeoff", title=f"{latency.title} against throughput", x=THROUGHPUT, y=latency, front=True,
        caption="Lower right is better: more tokens per second for a shorter wait. The line is the Pareto"
        " front: cells that no other cell of the same model, workload and device beats in both.",
    )  # fmt: skip
    return [energy, stand_in]


def _cost(rows: Sequence[Row]) -> Chart:
    """The cost of a token in each precision: energy, or time if no cell has energy."""
    joules, unit = [ENERGY.of(row) for row in rows], scale(ENERGY, rows)
    order = "Within a precision, larger batches are further right."
    if any(figure.value is not None for figure in joules):
        caption = f"GPU energy per generated token of each cell, by requested precision. {order}"
        return _strip(rows, joules, unit.factor, f"{ENERGY.title} ({unit.unit})", caption)
    caption = (
        "Time per generated token of each cell (the inverse of its throughput), by requested precision;"
        f" no cell has a measured energy. {order}"
    )
    return _strip(rows, [_time_cost(row) for row in rows], 1e3, "Time per generated token (ms/token)", caption)


def _time_cost(row: Row) -> Figure:
    """Seconds per token and their interval, as the inverse of throughput."""
    rate = THROUGHPUT.of(row)
    if not rate.value:
        return Figure(value=None, reason=rate.reason or "no token was generated")
    low, high = (1 / end if end else None for end in (rate.high, rate.low))
    return Figure(value=1 / rate.value, low=low, high=high, origin=rate.origin, method=rate.method)


def _strip(rows: Sequence[Row], figures: Sequence[Figure], factor: float, title: str, caption: str) -> Chart:
    kept = {i: figure.value * factor for i, figure in enumerate(figures) if figure.value}
    present = marks.precisions(rows, list(kept))
    batches = sorted({rows[i]["batch_size"] for i in kept})
    traces = []
    for at, precision in enumerate(present):
        members = [i for i in kept if rows[i]["precision"] == precision]
        across = [at + 0.6 * _offset(batches, rows[i]["batch_size"]) for i in members]
        symbols = [marks.SHAPES[precision] + marks.fill(figures[i]) for i in members]
        trace = marks.precision_trace(
            precision, [(x, kept[i], i) for x, i in zip(across, members, strict=True)], symbols
        )
        trace["error_y"] = marks.error_bars([figures[i] for i in members], factor)
        traces.append(trace)
    ticks = {"tickmode": "array", "tickvals": list(range(len(present))), "ticktext": present, "showgrid": False}
    return Chart(
        id="cost", title="Cost by precision", caption=caption,
        layout={
            "xaxis": {"title": {"text": "Precision"}, "zeroline": False, **ticks},
            "yaxis": marks.axis(title, list(kept.values())),
        },
        traces=[*traces, *marks.legend_entries(traces, [figures[i] for i in kept])],
        missing=_reasons(figure for figure in figures if not figure.value),
    )  # fmt: skip


def _offset(batches: Sequence[int], batch: int) -> float:
    """A batch size's offset on the axis, from -0.5 to 0.5, so that cells of one precision do not overlap."""
    return batches.index(batch) / (len(batches) - 1) - 0.5 if len(batches) > 1 else 0.0


def _latencies(rows: Sequence[Row]) -> list[Chart]:
    names = {
        "ttft": "TTFT (time to first token)",
        "itl": "ITL (inter-token latency)",
        "tpot": "TPOT (time per output token)",
    }
    return [_latency(rows, key, name) for key, name in names.items()]


def _latency(rows: Sequence[Row], key: str, name: str) -> Chart:
    """Three marks per cell on one vertical line: median, 90th and 99th percentile."""
    measured = [i for i, row in enumerate(rows) if row[f"{key}_p50_s"] is not None]
    labels = _unique_labels(rows, measured)
    shapes = {"p50": "circle", "p90": "line-ew-open", "p99": "triangle-down"}
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers", "name": percentile, "rows": measured,
            "x": labels, "y": [1e3 * rows[i][f"{key}_{percentile}_s"] for i in measured],
            "marker": {"symbol": shape, "size": 10, "line": {"width": 2}, "color": ["ink"] * len(measured)
                       if percentile != "p50" else [marks.COLOURS[rows[i]["precision"]] for i in measured]},
        }
        for percentile, shape in shapes.items()
    ]  # fmt: skip
    if measured:
        span = [1e3 * (rows[i][f"{key}_p99_s"] - rows[i][f"{key}_p50_s"]) for i in measured]
        traces[0]["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": span,
            "arrayminus": [0.0] * len(span),
            "width": 0,
            "color": "ink",
        }
    layout = {"xaxis": {"type": "category", "title": {"text": "cell"}, "automargin": True},
              "yaxis": {"title": {"text": f"{key.upper()} (ms)"}, "rangemode": "tozero"}}  # fmt: skip
    quantity = Quantity(key=key, title=key.upper(), unit="s", column=f"{key}_p50_s", why_null=TPOT.why_null)
    return Chart(
        id=f"latency-{key}", title=name, traces=traces if measured else [], layout=layout, cap=LATENCY_CELLS,
        caption="Of all requests in a cell's window: median (circle), 90th percentile (bar) and 99th (triangle). The"
        " vertical line runs from the median to the 99th percentile; it is not an uncertainty.",
        missing=_reasons(quantity.of(row) for row in rows if row[f"{key}_p50_s"] is None),
    )  # fmt: skip


def _memory(rows: Sequence[Row]) -> Chart:
    chart = _scatter(
        rows, id="memory", title="Memory", x=MODEL_MEMORY, y=PEAK_MEMORY,
        caption="Peak memory in the window against the memory of the loaded model. The distance from the dotted line"
        " (equal memory) is what cache, activations and the runtime need. On a GPU the peak is the caching allocator's;"
        " on a CPU it is the high-water mark of the whole process, which includes memory from earlier runs.",
    )  # fmt: skip
    sizes = [row["model_memory_mb"] for row in rows if row["model_memory_mb"] and row["peak_memory_mb"]]
    if sizes:
        # with two logarithmic axes the line of equality is straight
        chart.layout["xaxis"]["type"] = chart.layout["yaxis"]["type"] = "log"
        ends = [min(sizes), max(sizes)]
        chart.traces.append(
            {"type": "scatter", "mode": "lines", "name": "equal", "x": ends, "y": ends, "rows": [None, None],
             "line": {"dash": "dot", "width": 1, "color": "ink"}, "hoverinfo": "skip"}
        )  # fmt: skip
    return chart


def _flops(rows: Sequence[Row]) -> Chart:
    return _scatter(
        rows, id="flops", title="FLOPs by method", x=FLOPS, y=FLOPS_PER_S,
        methods=True,
        caption="FLOPs of one inference (whole batch, prefill and every decode pass) against the FLOP/s achieved."
        " Colour shows the precision. Shape shows the method: calflops, a closed form from the architecture, or 2 x"
        " parameters x tokens. Fill shows the confidence.",
    )  # fmt: skip


def _scatter(
    rows: Sequence[Row],
    *,
    id: str,  # noqa: A002 (the name of the attribute in the page)
    title: str,
    caption: str,
    x: Quantity,
    y: Quantity,
    front: bool = False,
    methods: bool = False,
) -> Chart:
    """A mark for each row that has both values, with an error bar for each interval; one trace per precision."""
    pairs = [(x.of(row), y.of(row), i) for i, row in enumerate(rows)]
    kept = [(a, u, i) for a, u, i in pairs if a.value and u.value]
    wide, high = scale(x, rows), scale(y, rows)
    at = {i: (a.value * wide.factor, u.value * high.factor) for a, u, i in kept if a.value and u.value}
    traces = []
    for precision in marks.precisions(rows, [i for _, _, i in kept]):
        members = [(a, u, i) for a, u, i in kept if rows[i]["precision"] == precision]
        symbols = [
            (marks.METHOD_SHAPES[u.method or ""] if methods else marks.SHAPES[precision]) + marks.fill(u)
            for _, u, _ in members
        ]
        trace = marks.precision_trace(precision, [(*at[i], i) for _, _, i in members], symbols)
        trace["error_x"] = marks.error_bars([a for a, _, _ in members], wide.factor)
        trace["error_y"] = marks.error_bars([u for _, u, _ in members], high.factor)
        traces.append(trace)
    lines = [_front(rows, at)] if front and kept else []
    return Chart(
        id=id, title=title, caption=caption,
        traces=[*traces, *lines, *marks.legend_entries(traces, [u for _, u, _ in kept], methods=methods)],
        layout={
            "xaxis": marks.axis(f"{x.title} ({wide.unit})", [at[i][0] for i in at]),
            "yaxis": marks.axis(f"{y.title} ({high.unit})", [at[i][1] for i in at]),
        },
        missing=_reasons(u if not u.value else a for a, u, _ in pairs if not (a.value and u.value)),
    )  # fmt: skip


def _front(rows: Sequence[Row], at: dict[int, tuple[float, float]]) -> dict[str, Any]:
    """The fronts of all groups as one trace of lines, with gaps between the groups."""
    trace: dict[str, Any] = {"type": "scatter", "mode": "lines", "name": "Pareto front", "hoverinfo": "skip",
                             "line": {"width": 1.5, "color": "ink", "shape": "vh"},
                             "x": [], "y": [], "rows": [], "connectgaps": False}  # fmt: skip
    for group in groups(rows):
        for i in [*pareto([(*at[i], i) for i in group.members if i in at]), None]:
            trace["rows"].append(i)
            trace["x"].append(None if i is None else at[i][0])
            trace["y"].append(None if i is None else at[i][1])
    return trace


def _reasons(figures: Iterable[Figure]) -> dict[str, int]:
    """The number of figures missing for each reason, the most common first."""
    counts: dict[str, int] = {}
    for figure in figures:
        reason = figure.reason or "the value is zero, which a logarithmic axis cannot show"
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _unique_labels(rows: Sequence[Row], indices: Sequence[int]) -> list[str]:
    """A distinct label for each cell on a category axis: plotly would put two cells with one label in one place."""
    labels = [
        _label(rows[i], other) for i, other in zip(indices, varying_settings([rows[i] for i in indices]), strict=True)
    ]
    counts = Counter(labels)
    return [
        f"{label} {rows[i]['cell_id']}" if counts[label] > 1 else label
        for label, i in zip(labels, indices, strict=True)
    ]


def _label(row: Row, other: Mapping[str, str]) -> str:
    tokens = f"{row['input_tokens']}→{row['output_tokens']}"
    settings = format_settings({short_name(name): value for name, value in other.items()})
    if len(settings) > _SETTINGS_WIDTH:
        settings = settings[:_SETTINGS_WIDTH] + "…"
    return f"{row['model']} {row['precision']} b{row['batch_size']} {tokens} {settings}".rstrip()
