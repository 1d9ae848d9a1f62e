"""Two simulated snapshots, compared by the command."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.aggregate.spread import spread
from orchestrator.commands.compare import main
from orchestrator.results.rows import AggregatedResult, Statistics
from tests.support.snapshot_rows import DAY_S, LEVELS, noisy, row

Write = Callable[[str, list[AggregatedResult]], str]

FIGURES = list(LEVELS)


def snapshot(
    rng: np.random.Generator, cells: range = range(12), day: int = 1, **differs: Any
) -> list[AggregatedResult]:
    """A snapshot of equal cells; `slow` maps a cell to factors of its figures, `odd` to fields of its row."""
    slow, odd = differs.pop("slow", {}), differs.pop("odd", {})
    repeats = differs.pop("repeats", 5)
    return [
        row(
            i,
            noisy(rng, repeats=repeats, **slow.get(i, {})),
            **{"started_unix_s": day * DAY_S, **differs, **odd.get(i, {})},
        )
        for i in cells
    ]


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def verdicts(report: dict[str, Any], cell: int | None = None) -> dict[str, str]:
    return {
        c["figure"]: c["verdict"]
        for c in report["comparisons"]
        if cell is None or c["cell"]["cell_id"] == f"{cell:016x}"
    }


def reasons(report: dict[str, Any]) -> set[str]:
    return {c["reason"] for c in report["comparisons"] if c["reason"]}


def slowed(of: AggregatedResult, *, by: float, repeats: tuple[int, ...]) -> AggregatedResult:
    """The row after a burst of load slowed these repeats."""
    figures = {}
    for name in FIGURES:
        values = getattr(of.statistics, f"{name}_over_repeats").values
        factor = {"output_tokens_per_s": 1 / by, "peak_memory_mb": 1.0}.get(name, by)
        hit = [value * factor if i in repeats else value for i, value in enumerate(values)]
        figures[f"{name}_over_repeats"] = spread(hit)
    return of.model_copy(update={"statistics": Statistics(**figures)})
