"""Print a report as plain tables, for a terminal or a job's log."""

import io
import shutil
import sys

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.compare.summary import Section, sections
from orchestrator.compare.verdicts import GateReport, HistoryReport

_LOG_WIDTH = 160
"""Columns without a terminal: a log scrolls sideways, and a folded table is hard to read."""


def render(report: GateReport | HistoryReport) -> str:
    """The report as text, coloured if standard output is a terminal."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _LOG_WIDTH
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    verdict, tables = sections(report)
    with console.capture() as capture:
        console.print(Text(verdict, style=f"bold {_colour(report, verdict)}"), soft_wrap=True)
        for section in tables:
            console.print()
            console.print(Text(section.title, style="bold"), soft_wrap=True)
            _print(console, section)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _colour(report: GateReport | HistoryReport, verdict: str) -> str:
    if not report.passed:
        return "red"
    return "green" if verdict.startswith("PASSED") else "yellow"  # yellow: nothing could fail


def _print(console: Console, section: Section) -> None:
    if not section.header:
        for (sentence,) in section.rows:
            console.print(Text(f"  {sentence}"), soft_wrap=True)
        return
    table = Table(box=SIMPLE, show_edge=False, pad_edge=True)
    for name in section.header:
        table.add_column(name, overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(value) for value in row))  # Text: a cell's name may contain rich's [markup]
    console.print(table)
