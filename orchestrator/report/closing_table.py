"""The table that a sweep ends with: one line per cell, in a terminal or a job's log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from orchestrator.report.numbers import TO, UNSTABLE, WHAT_TO_DO, Scale, count_cells, scale
from orchestrator.report.quantities import (
    ENERGY,
    FLOPS,
    METER,
    PEAK_MEMORY,
    PEAK_OF_PROCESS,
    PERPLEXITY,
    THROUGHPUT,
    TTFT,
    WITHIN_RUN,
    Figure,
    Quantity,
    Row,
    peak_is_of_process,
)
from orchestrator.results import labels
from workers.records.text import one_line

_QUANTITIES = (THROUGHPUT, TTFT, ENERGY, PEAK_MEMORY, FLOPS)
_ESSENTIAL = (THROUGHPUT, ENERGY, FLOPS)
_MODEL_WIDTH = 8
"""The narrowest column for the model's name, the only column that is cut to fit. Unit: characters."""
_SETTING_WIDTH = 24
_TITLES = {"memory": "Peak", "energy": "Energy"}
"""Shorter titles than in the page."""
_SYSTEMATIC = (
    (WITHIN_RUN, "time within one run"),
    (METER, "energy meters"),
)
"""Uncertainties that the interval over the repeats does not include."""
_METHODS = {"calflops": "c", "architecture": "a", "parameter_estimate": "p"}


class Detail(NamedTuple):
    """How much detail the table shows with each figure."""

    words: bool
    """Methods and confidence in words, else in letters."""
    bounds: bool
    """Both ends of an asymmetric interval, else its longer arm as a share."""


@dataclass(frozen=True)
class ClosingTable:
    """A Rich renderable of the rows; the console's width decides how much detail it shows."""

    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table and its legend, then the reasons for missing values and the failures, one line each."""
        settings = [[_setting(*item) for item in varying.items()] for varying in labels.varying_settings(self.rows)]
        table, detail, omitted = self._fitting(console, options, settings)
        yield table
        overflow: OverflowMethod = "crop" if options.ascii_only else "ellipsis"  # an ellipsis is not ASCII
        for line in [*_legend(detail), *_uncertainties(self.rows)]:
            yield Text(_plain(line, ascii_only=options.ascii_only))
        notes = [*_missing(self.rows), *_failures(self.rows, settings), *_mixed(self.rows)]
        for line in [*omitted, *notes]:
            yield Text(_plain(line, ascii_only=options.ascii_only), no_wrap=True, overflow=overflow)

    def _fitting(
        self, console: Console, options: ConsoleOptions, settings: Sequence[Sequence[str]]
    ) -> tuple[Table, Detail, list[str]]:
        """The most detailed table that fits the console, with a note on what it omits."""
        every = (*_QUANTITIES, PERPLEXITY) if any(row["scored_tokens"] for row in self.rows) else _QUANTITIES
        full, letters, short = (Detail(words=True, bounds=True), Detail(False, True), Detail(False, False))
        for quantities, detail in ((every, full), (every, letters), (every, short), (_QUANTITIES, short)):
            table = _table(self.rows, settings, quantities, detail, ascii_only=options.ascii_only)
            if _width(table, console) <= options.max_width:
                return table, detail, []
        omitted = [f"Omitted to fit {options.max_width} columns: TTFT and peak memory."]
        table = _table(self.rows, settings, _ESSENTIAL, short, ascii_only=options.ascii_only)
        if _width(table, console) > options.max_width and any(settings):
            none: list[list[str]] = [[] for _ in self.rows]
            table = _table(self.rows, none, _ESSENTIAL, short, ascii_only=options.ascii_only)
            omitted.append("Also omitted: other settings, in which some of these rows differ.")
        return table, short, omitted


def _width(table: Table, console: Console) -> int:
    """The table's width with the narrowest column for the model's name. Unit: characters."""
    model = table.columns[0]
    model.max_width = _MODEL_WIDTH
    width = Measurement.get(console, console.options.update_width(10_000), table).maximum
    model.max_width = None
    return width


def _table(
    rows: Sequence[Row],
    settings: Sequence[Sequence[str]],
    quantities: Sequence[Quantity],
    detail: Detail,
    *,
    ascii_only: bool,
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if detail.words else 0))
    table.add_column("model")
    titles = ["precision", "batch", "in/out", *(["other settings"] if any(settings) else []), "status"]
    for title in titles:
        table.add_column(title, justify="right" if title in ("batch", "in/out") else "left", no_wrap=True)
    scales = {quantity.key: scale(quantity, rows) for quantity in quantities}
    for quantity in quantities:
        heading = f"{_TITLES.get(quantity.key, quantity.title)}\n{scales[quantity.key].unit}"
        table.add_column(_plain(heading, ascii_only=ascii_only), justify="right", no_wrap=True)
    for row, others in zip(rows, settings, strict=True):
        style = {"ok": "", "skipped": "dim"}.get(row["status"], "red")
        cells = [_plain(_figure(q, row, scales[q.key], detail), ascii_only=ascii_only) for q in quantities]
        identity = [row["precision"], str(row["batch_size"]), f"{row['input_tokens']}/{row['output_tokens']}"]
        identity += ["\n".join(others)] if any(settings) else []
        # Text, not str: Rich would read brackets in a model's name as markup
        model = Text(one_line(row["model"]), no_wrap=True, overflow="crop" if ascii_only else "ellipsis")
        table.add_row(model, *map(Text, [*identity, row["status"], *cells]), style=style)
    return table


def _setting(name: str, value: str) -> str:
    """`num_beams=2`, cut to the width of its column."""
    text = f"{labels.short_name(name)}={value}"
    return text if len(text) <= _SETTING_WIDTH else text[: _SETTING_WIDTH - 2] + ".."


def _figure(quantity: Quantity, row: Row, unit: Scale, detail: Detail) -> str:
    figure = quantity.of(row)
    if figure.value is None:
        return "-"
    text = unit.text(figure, bounds=detail.bounds)
    return f"{text} {_origin(figure, words=detail.words)}".rstrip() if quantity in (ENERGY, FLOPS) else text


def _origin(figure: Figure, *, words: bool) -> str:
    """Method and confidence: `calflops high`, or `cH` in a narrow table; for energy, the confidence only."""
    confidence = figure.confidence or "ungraded"
    if words:
        method = {"parameter_estimate": "2xparams"}.get(figure.method or "", figure.method or "")
        return f"{method} {confidence}"
    return _METHODS.get(figure.method or "", "") + confidence[0].upper()


def _legend(detail: Detail) -> Iterator[str]:
    asymmetric = f"[low{TO}high]" if detail.bounds else "the longer arm in %"
    yield f"± is a 95 % interval over the repeats, {asymmetric} if it is asymmetric; none with one repeat."
    if not detail.words:
        yield "FLOPs method: c calflops, a architecture, p 2 x parameters x tokens."
        yield "Confidence of FLOPs and energy: H high, M medium, L low, U ungraded."


def _uncertainties(rows: Sequence[Row]) -> Iterator[str]:
    """Notes on how certain the figures are, each only if it applies to one of these rows."""
    if any(quantity.of(row).unstable for quantity in _QUANTITIES for row in rows):
        yield f"{UNSTABLE}: the interval is wider than the value; {WHAT_TO_DO}."
    widest = [(name, max((quantity.value(row) or 0.0 for row in rows), default=0.0)) for quantity, name in _SYSTEMATIC]
    parts = [f"{name} up to ± {100 * share:.1f} %" for name, share in widest if share]
    if parts:
        yield f"Not in the interval: {', '.join(parts)}."
    if any(map(peak_is_of_process, rows)):
        yield PEAK_OF_PROCESS


def _missing(rows: Sequence[Row]) -> Iterator[str]:
    """Each reason for a missing value once, with its number of cells; failed cells are in `_failures`."""
    for quantity in _QUANTITIES:
        counts: dict[str, int] = {}
        for row in rows:
            figure = quantity.of(row)
            if figure.value is None and row["repeats_ok"]:
                counts[figure.reason] = counts.get(figure.reason, 0) + 1
        for reason, count in counts.items():
            name = quantity.unit if quantity is ENERGY else quantity.title
            yield f"No {name} in {count_cells(count)}: {one_line(reason)}"


def _failures(rows: Sequence[Row], settings: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each status and error once; several cells with the same one are a count and the first of them."""
    failures: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for row, others in zip(rows, settings, strict=True):
        if row["status"] != "ok":
            tokens = f"{row['input_tokens']}/{row['output_tokens']}"
            cell = f"{one_line(row['model'])} {row['precision']} batch {row['batch_size']} {tokens}"
            cell = " ".join([cell, *others])
            kept = f" ({row['repeats_ok']} of {row['repeats_asked']} repeats kept)" if row["repeats_ok"] else ""
            error = f"{row['error_type'] or 'no error type'}: {one_line(row['error_message'] or 'no message')}"
            failures.setdefault((row["status"], error), []).append((f"{cell}{kept}", row.get("error_log")))
    for (status, error), failed in failures.items():
        cell, log = failed[0]
        which = cell if len(failed) == 1 else f"{count_cells(len(failed))}, the first {cell}"
        yield f"{status}: {which}: {error}{f'; log: {log}' if log else ''}"


def _mixed(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["mixed"]:
            cell = one_line(f"{row['model']} {row['precision']} batch {row['batch_size']}")
            yield f"mixed: {cell}: {'; '.join(row['mixed'])}"


def _plain(text: str, *, ascii_only: bool) -> str:
    """`text`, in ASCII where the output cannot encode `±` or `µ`."""
    return (
        text.replace("±", "+-").replace(TO, "-").replace("µ", "u").encode("ascii", "replace").decode()
        if ascii_only
        else text
    )
