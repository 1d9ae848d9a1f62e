"""What a sweep found, for people: the table it closes with, and the page that `python -m orchestrator report` writes.

`figures` gives each number its uncertainty, method, confidence or reason; `answers` compares the comparable; `charts`
and `page` make the HTML, `text` the closing table.
"""

from collections.abc import Sequence

from orchestrator.columns import table as arrow_table
from orchestrator.report.command import main
from orchestrator.report.text import ClosingTable
from orchestrator.results import AggregatedResult

__all__ = ["ClosingTable", "main", "table"]


def table(results: Sequence[AggregatedResult]) -> ClosingTable:
    """The closing table of a sweep, for `rich.print`. It reads the same flat columns as the page does."""
    return ClosingTable(arrow_table(AggregatedResult, results).to_pylist())
