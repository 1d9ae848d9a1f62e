"""Print a report as GitHub Markdown, for a job's summary (`>> $GITHUB_STEP_SUMMARY`)."""

from orchestrator.compare.summary import Section, sections
from orchestrator.compare.verdicts import GateReport, HistoryReport


def render(report: GateReport | HistoryReport) -> str:
    """The report as Markdown: the verdict as a heading, then one table per section."""
    verdict, tables = sections(report)
    return "\n\n".join([f"## {_escaped(verdict)}", *(_section(section) for section in tables)])


def _section(section: Section) -> str:
    title = f"### {_escaped(section.title)}"
    if not section.header:
        return "\n".join([title, "", *(f"- {_escaped(sentence)}" for (sentence,) in section.rows)])
    lines = [_line(section.header), "|" + " --- |" * len(section.header), *(_line(row) for row in section.rows)]
    return "\n".join([title, "", *lines])


def _line(values: tuple[str, ...]) -> str:
    return "| " + " | ".join(_escaped(value) for value in values) + " |"


def _escaped(text: str) -> str:
    """Escape names and errors, so that they cannot break the table or add HTML."""
    for character, safe in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("*", "\\*"), ("_", "\\_"), ("`", "\\`")):
        text = text.replace(character, safe)
    return " ".join(text.split())
