"""Rows -> one self-contained HTML page. Jinja escapes all text from the results."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.report import answers, charts
from orchestrator.report.numbers import UNSTABLE, WHAT_TO_DO, Scale, count_cells, scale
from orchestrator.report.quantities import (
    E2E,
    ENERGY,
    FLOPS,
    FLOPS_PER_S,
    METER,
    MFU,
    PEAK_MEMORY,
    PEAK_OF_PROCESS,
    PERPLEXITY,
    THROUGHPUT,
    TPOT,
    TTFT,
    WITHIN_RUN,
    Figure,
    Quantity,
    Row,
    peak_is_of_process,
)
from orchestrator.results import labels
from workers.records.text import one_line

GLYPHS = {"high": "●", "medium": "◉", "low": "○"}
"""The same fills as the charts' marks."""
_ESTIMATORS = ("calflops", "architecture", "parameter_estimate", "dispatcher")
_GROUPS_SHOWN = 4
_ROWS_LISTED = 250
_REASONS_SHOWN = 5
"""The most reasons under a chart, if the notes below the table list the others."""
_DASH = "\u2013"
_ENVIRONMENT = (
    "host", "device", "gpu_names", "driver_version", "cuda_version", "cpu_name", "cpu_threads", "memory_total_mb",
    "platform", "python_version", "torch_version", "transformers_version", "quantiser_version", "joulegrid_version",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One figure as the table shows it."""

    text: str
    sort: str | None = None
    glyph: str = ""
    provenance: int | None = None
    """Number of the sentence that says how the value was obtained."""
    note: int | None = None
    """Number of the reason why there is no value."""


@dataclass
class Notes:
    """Distinct sentences, numbered from 1: thousands of cells share a handful of them."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, sentence: str) -> int:
        """The sentence's number; a new sentence gets the next one."""
        return self.numbers.setdefault(sentence, len(self.numbers) + 1)


def render(rows: Sequence[Row]) -> str:
    """The page as HTML.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("the results have no rows, so there is nothing to report")
    drawn, reasons, provenances, quantities = charts.charts(rows), Notes(), Notes(), _quantities(rows)
    scales = {quantity.key: scale(quantity, rows) for quantity in quantities}
    settings = labels.varying_settings(rows)
    optional = sorted({name for varying in settings for name in varying})
    table = [
        (
            row,
            [_option(row, varying, name) for name in optional],
            [_cell(q.of(row), scales[q.key], reasons, provenances) for q in quantities],
        )
        for row, varying in zip(rows, settings, strict=True)
    ]
    environment = Environment(
        loader=PackageLoader("orchestrator.report", "template"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        head=_head(rows),
        answers=[_answer(rows, group, scales) for group in answers.groups(rows)],
        groups_shown=_GROUPS_SHOWN,
        rows_listed=_ROWS_LISTED,
        headers=[(quantity.title, scales[quantity.key].unit) for quantity in quantities],
        optional=[name if "." in name else name.replace("_", " ").capitalize() for name in optional],
        rows=table,
        reasons=list(reasons.numbers),
        choices={name: list(dict.fromkeys(row[name] for row in rows)) for name in ("model", "precision", "status")},
        charts=[(chart, *_missing(chart, reasons)) for chart in drawn],
        data=_script_json(drawn, list(provenances.numbers)),
        estimates=_estimates(rows),
        failures=[(row, one_line(row["error_message"] or "no message")) for row in rows if row["status"] != "ok"],
        mixed=[row for row in rows if row["mixed"]],
        environments=_environments(rows),
        environment_names=_ENVIRONMENT,
        glyphs=GLYPHS,
        count_cells=count_cells,
        unstable=(UNSTABLE, WHAT_TO_DO),
        peak_of_process=PEAK_OF_PROCESS if any(map(peak_is_of_process, rows)) else "",
        css=_asset("template/page.css"),
        plotly=_asset("vendor/plotly-basic.min.js"),
        script=_asset("template/table.js") + _asset("template/charts.js"),
    )


def _missing(chart: charts.Chart, notes: Notes) -> tuple[list[tuple[str, int]], int]:
    """The reasons to list under the chart, with their counts, and the number of others that only the notes list."""
    listed = [
        (reason, count)
        for i, (reason, count) in enumerate(chart.missing.items())
        if i < _REASONS_SHOWN or reason not in notes.numbers
    ]
    return listed, len(chart.missing) - len(listed)


def _option(row: Row, settings: Mapping[str, str], name: str) -> str:
    """The row's value of a setting that the sweep varies."""
    default = "default" if "." in name else row[name]
    return settings.get(name) or ("any" if default is None else str(default))


def _quantities(rows: Sequence[Row]) -> list[Quantity]:
    meter = [METER] if any(METER.value(row) is not None for row in rows) else []
    quality = [PERPLEXITY] if any(row["scored_tokens"] for row in rows) else []
    energy = [ENERGY, *meter]
    return [THROUGHPUT, WITHIN_RUN, TTFT, TPOT, E2E, *energy, PEAK_MEMORY, FLOPS, FLOPS_PER_S, MFU, *quality]


def _head(rows: Sequence[Row]) -> dict[str, Any]:
    """The page's head: sweep, time, hosts, devices and counts."""
    first = rows[0]
    begun = datetime.fromtimestamp(first["started_unix_s"], UTC)
    return {
        "sweep": first["sweep"], "when": f"{begun:%Y-%m-%d %H:%M} UTC", "iso": begun.isoformat(),
        "hosts": list(dict.fromkeys(row["host"] for row in rows if row["host"])) or ["no host: nothing was measured"],
        "devices": list(dict.fromkeys(answers.device(row) for row in rows if row["repeats_ok"])),
        "hash": first["sweep_hash"], "commit": first["git_commit"], "ray": first["ray_version"],
        "driver_host": first["driver_host"],
        "statuses": {s: sum(r["status"] == s for r in rows) for s in dict.fromkeys(r["status"] for r in rows)},
        "total": len(rows),
        "with_energy": sum(ENERGY.of(row).value is not None for row in rows),
    }  # fmt: skip


def _answer(rows: Sequence[Row], group: answers.Group, scales: dict[str, Scale]) -> dict[str, Any]:
    """The group's fastest and cheapest cell, and the best cells of each precision."""
    lines = []
    for precision, members in answers.by_precision(rows, group).items():
        fast, cheap = answers.fastest(rows, members), answers.cheapest(rows, members)
        memory = None if fast is None else _figure(PEAK_MEMORY.of(rows[fast.index]), scales["memory"])
        lines.append((precision, _best(rows, fast, scales["throughput"]), _best(rows, cheap, scales["energy"]), memory))
    return {
        "group": group,
        "fastest": _best(rows, answers.fastest(rows, group.members), scales["throughput"]),
        "cheapest": _best(rows, answers.cheapest(rows, group.members), scales["energy"]),
        "no_energy": ENERGY.of(rows[group.members[0]]).reason,
        "lines": lines,
        "units": {key: scales[key].unit for key in ("throughput", "energy", "memory")},
    }


def _best(rows: Sequence[Row], best: answers.Best | None, unit: Scale) -> dict[str, Any] | None:
    if best is None:
        return None
    row = rows[best.index]
    return {
        "precision": row["precision"], "batch": row["batch_size"], **_figure(best.figure, unit),
        "rival": None if best.rival is None else rows[best.rival]["precision"], "doubt": best.doubt,
    }  # fmt: skip


def _figure(figure: Figure, unit: Scale) -> dict[str, Any]:
    if figure.value is None:
        return {"text": _DASH, "unit": "", "glyph": "", "title": figure.reason}
    return {
        "text": unit.text(figure), "unit": unit.unit,
        "glyph": GLYPHS.get(figure.confidence or "", ""), "title": _provenance(figure),
    }  # fmt: skip


def _cell(figure: Figure, unit: Scale, reasons: Notes, provenances: Notes) -> TableCell:
    if figure.value is None:
        return TableCell(text=_DASH, note=reasons.number(figure.reason))
    return TableCell(
        text=unit.text(figure), sort=f"{figure.value:.6g}",
        glyph=GLYPHS.get(figure.confidence or "", ""), provenance=provenances.number(_provenance(figure)),
    )  # fmt: skip


def _provenance(figure: Figure) -> str:
    """How the value was obtained, for the hover text."""
    parts = [
        f"method {figure.method}" if figure.method else "",
        f"confidence {figure.confidence}" if figure.confidence else "",
        figure.origin,
        f"{UNSTABLE}: the interval is wider than the value; {WHAT_TO_DO}" if figure.unstable else "",
    ]
    return "; ".join(part for part in parts if part)


def _estimates(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The result of each FLOPs estimator, with the precisions that share it."""
    unit = scale(FLOPS, rows)
    estimates: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if not row["flops_value"]:
            continue
        others = [_deviation(row, name) for name in _ESTIMATORS]
        key = (
            *(row[name] for name in ("model", "batch_size", "input_tokens", "output_tokens", "flops_value")),
            *others,
        )
        new = {"row": row, "figure": _figure(FLOPS.of(row), unit), "others": others, "precisions": []}
        entry = estimates.setdefault(key, new)
        if row["precision"] not in entry["precisions"]:
            entry["precisions"].append(row["precision"])
    return list(estimates.values())


def _deviation(row: Row, estimator: str) -> tuple[str, str]:
    """The estimator's relative difference from the reported FLOPs; or a dash and the reason."""
    value = row[f"flops_{estimator}"]
    if value is None:
        return _DASH, json.loads(row["flops_failures"] or "{}").get(estimator, "this estimator did not run")
    return f"{value / row['flops_value'] - 1:+.2%}", ""


def _environments(rows: Sequence[Row]) -> list[tuple[tuple[Any, ...], int]]:
    """Every distinct environment, with the number of cells measured in it."""
    counts: dict[tuple[Any, ...], int] = {}
    for row in rows:
        if row["host"]:
            key = tuple(tuple(v) if isinstance(v, list) else v for v in (row[name] for name in _ENVIRONMENT))
            counts[key] = counts.get(key, 0) + 1
    return list(counts.items())


def _asset(name: str) -> Markup:
    """A file of this package for a `<script>` or `<style>`, escaped so that its text cannot end the element."""
    text = files("orchestrator.report").joinpath(name).read_text(encoding="utf-8")
    return Markup(re.sub(r"</(script|style)", r"<\\/\1", text, flags=re.IGNORECASE))  # noqa: S704 (files of this package)


def _script_json(drawn: Sequence[charts.Chart], provenances: Sequence[str]) -> Markup:
    """JSON that is safe inside `<script>`: no text in it can end the element or begin a comment."""
    specs = [{"id": c.id, "cap": c.cap, "data": c.traces, "layout": c.layout} for c in drawn]
    exact = json.dumps({"charts": specs, "provenances": provenances})
    # six digits are enough for a screen, and a page of 5,000 cells is a third smaller
    short = json.loads(exact, parse_float=lambda digits: float(f"{float(digits):.6g}"))
    text = json.dumps(short, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped above)
