"""A sweep's results for people: its closing table, and the page that `python -m orchestrator report` writes.

`quantities` gives each value its uncertainty, method and confidence, or the reason why it is missing. `answers`
compares cells. `charts` and `page` make the HTML, `closing_table` the table.
"""

from collections.abc import Sequence

from orchestrator.report.closing_table import ClosingTable
from orchestrator.results.columns import table as arrow_table
from orchestrator.results.rows import AggregatedResult

__all__ = ["ClosingTable", "table"]


def table(results: Sequence[AggregatedResult]) -> ClosingTable:
    """The closing table of a sweep, for `rich.print`. It reads the same flat columns as the page."""
    return ClosingTable(arrow_table(AggregatedResult, results).to_pylist())
