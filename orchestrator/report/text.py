"""The table that a sweep closes with: one line a cell, in a terminal or a job's log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, OverflowMethod, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from orchestrator import labels
from orchestrator.report.figures import (
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
from orchestrator.report.numbers import TO, UNSTABLE, WHAT_TO_DO, Scale, scale
from workers.records.text import one_line

_QUANTITIES = (THROUGHPUT, TTFT, ENERGY, PEAK_MEMORY, FLOPS)
_ESSENTIAL = (THROUGHPUT, ENERGY, FLOPS)
_MODEL_WIDTH = 8
"""What the model's name must have at least; the one column that gives way, so that no figure is cut in two."""
_SETTING_WIDTH = 24
_TITLES = {"memory": "Peak", "energy": "Energy"}
"""Shorter than in the page, where there is room."""
_APART = (
    (WITHIN_RUN, "time within one run"),
    (METER, "the energy meters"),
)
"""Uncertainties that repeats do not show."""
_METHODS = {"calflops": "c", "architecture": "a", "parameter_estimate": "p"}


class Detail(NamedTuple):
    """How much of a figure the table spells out."""

    words: bool
    """Methods in words, else in letters."""
    bounds: bool
    """Both ends of an uneven interval, else the share of its longer arm."""


@dataclass(frozen=True)
class ClosingTable:
    """Rich's view of the rows; the console's width decides how much is spelt out."""

    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Table, legend, then whatever is not a figure: dashes' reasons and failures, a line each."""
        settings = [[_setting(*one) for one in some.items()] for some in labels.varied(self.rows)]
        table, detail, left_out = self._fitting(console, options, settings)
        yield table
        overflow: OverflowMethod = "crop" if options.ascii_only else "ellipsis"  # the ellipsis is no ASCII
        for line in [*_legend(detail), *_uncertainties(self.rows)]:
            yield Text(_plain(line, ascii_only=options.ascii_only))
        notes = [*_dashes(self.rows), *_failures(self.rows, settings), *_mixed(self.rows)]
        for line in [*left_out, *notes]:
            yield Text(_plain(line, ascii_only=options.ascii_only), no_wrap=True, overflow=overflow)

    def _fitting(
        self, console: Console, options: ConsoleOptions, settings: Sequence[Sequence[str]]
    ) -> tuple[Table, Detail, list[str]]:
        """The fullest table that the console has room for; at least the essential figures, as short as they can be."""
        every = (*_QUANTITIES, PERPLEXITY) if any(row["scored_tokens"] for row in self.rows) else _QUANTITIES
        full, letters, short = (Detail(words=True, bounds=True), Detail(False, True), Detail(False, False))
        for quantities, detail in ((every, full), (every, letters), (every, short), (_QUANTITIES, short)):
            table = _table(self.rows, settings, quantities, detail, ascii_only=options.ascii_only)
            if _width(table, console) <= options.max_width:
                return table, detail, []
        left_out = [f"Left out for want of room, {options.max_width} columns: TTFT and peak memory."]
        table = _table(self.rows, settings, _ESSENTIAL, short, ascii_only=options.ascii_only)
        if _width(table, console) > options.max_width and any(settings):
            none: list[list[str]] = [[] for _ in self.rows]
            table = _table(self.rows, none, _ESSENTIAL, short, ascii_only=options.ascii_only)
            left_out.append("Left out too: other settings, which tell some of these rows apart.")
        return table, short, left_out


def _width(table: Table, console: Console) -> int:
    """Columns that the table takes with the model's name at its narrowest."""
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
        cells = [_plain(_shown(q, row, scales[q.key], detail), ascii_only=ascii_only) for q in quantities]
        asked = [row["precision"], str(row["batch_size"]), f"{row['input_tokens']}/{row['output_tokens']}"]
        asked += ["\n".join(others)] if any(settings) else []
        # Text, not str: a model's name is foreign, and brackets in it are no markup
        model = Text(one_line(row["model"]), no_wrap=True, overflow="crop" if ascii_only else "ellipsis")
        table.add_row(model, *map(Text, [*asked, row["status"], *cells]), style=style)
    return table


def _setting(name: str, value: str) -> str:
    """`num_beams=2`, no wider than a column may be."""
    text = f"{labels.short(name)}={value}"
    return text if len(text) <= _SETTING_WIDTH else text[: _SETTING_WIDTH - 2] + ".."


def _shown(quantity: Quantity, row: Row, unit: Scale, detail: Detail) -> str:
    figure = quantity.of(row)
    if figure.value is None:
        return "-"
    text = unit.text(figure, bounds=detail.bounds)
    return f"{text} {_mark(figure, words=detail.words)}".rstrip() if quantity in (ENERGY, FLOPS) else text


def _mark(figure: Figure, *, words: bool) -> str:
    """Method and confidence: `calflops high`, or in a narrow table `cH`; of energy, the confidence alone."""
    confidence = figure.confidence or "ungraded"
    if words:
        method = {"parameter_estimate": "2xparams"}.get(figure.method or "", figure.method or "")
        return f"{method} {confidence}"
    return _METHODS.get(figure.method or "", "") + confidence[0].upper()


def _legend(detail: Detail) -> Iterator[str]:
    uneven = f"[low{TO}high] where it is uneven" if detail.bounds else "in % its longer arm"
    yield f"± is a 95 % interval over the repeats, {uneven}; none with one repeat."
    if not detail.words:
        yield "FLOPs by c calflops, a architecture, p 2 x parameters x tokens."
        yield "Confidence of FLOPs and energy: H high, M medium, L low, U ungraded."


def _uncertainties(rows: Sequence[Row]) -> Iterator[str]:
    """What else a reader must know of how certain the figures are: only what holds for one of these rows."""
    if any(quantity.of(row).unstable for quantity in _QUANTITIES for row in rows):
        yield f"{UNSTABLE}: the interval is wider than the figure; {WHAT_TO_DO}."
    widest = [(name, max((quantity.value(row) or 0.0 for row in rows), default=0.0)) for quantity, name in _APART]
    if any(share for _, share in widest):
        yield f"Apart from it: {', '.join(f'{name} up to ± {100 * share:.1f} %' for name, share in widest if share)}."
    if any(map(peak_is_of_process, rows)):
        yield PEAK_OF_PROCESS


def _dashes(rows: Sequence[Row]) -> Iterator[str]:
    """Each reason for a missing figure once, with how many cells have it; a failed cell's stands with the failures."""
    for quantity in _QUANTITIES:
        counts: dict[str, int] = {}
        for row in rows:
            figure = quantity.of(row)
            if figure.value is None and row["repeats_ok"]:
                counts[figure.reason] = counts.get(figure.reason, 0) + 1
        for reason, count in counts.items():
            yield f"No {quantity.unit if quantity is ENERGY else quantity.title} in {_cells(count)}: {one_line(reason)}"


def _failures(rows: Sequence[Row], settings: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each end that is not ok, once; where several cells came to the same one, with how many and the first of them."""
    ends: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for row, others in zip(rows, settings, strict=True):
        if row["status"] != "ok":
            tokens = f"{row['input_tokens']}/{row['output_tokens']}"
            cell = f"{one_line(row['model'])} {row['precision']} batch {row['batch_size']} {tokens}"
            cell = " ".join([cell, *others])
            kept = f" ({row['repeats_ok']} of {row['repeats_asked']} repeats kept)" if row["repeats_ok"] else ""
            error = f"{row['error_type'] or 'no error type'}: {one_line(row['error_message'] or 'no message')}"
            ends.setdefault((row["status"], error), []).append((f"{cell}{kept}", row.get("error_log")))
    for (status, error), ended in ends.items():
        cell, log = ended[0]
        what = cell if len(ended) == 1 else f"{_cells(len(ended))}, the first {cell}"
        yield f"{status}: {what}: {error}{f'; log: {log}' if log else ''}"


def _mixed(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["mixed"]:
            cell = one_line(f"{row['model']} {row['precision']} batch {row['batch_size']}")
            yield f"mixed: {cell}: {'; '.join(row['mixed'])}"


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _plain(text: str, *, ascii_only: bool) -> str:
    """A log that is not UTF-8 shows ± as a question mark, or stops the program."""
    return (
        text.replace("±", "+-").replace(TO, "-").replace("µ", "u").encode("ascii", "replace").decode()
        if ascii_only
        else text
    )
