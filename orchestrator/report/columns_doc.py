"""`python -m orchestrator.report.columns_doc > docs/columns.md`: every column of the results, from the records."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from orchestrator.columns import SCHEMA_VERSION, Column, columns
from orchestrator.results import AggregatedResult, RawRow
from workers.records import Record

_FILES: dict[str, type[Record]] = {"results.parquet": AggregatedResult, "raw.parquet": RawRow}


def document() -> str:
    """The page as Markdown. A sentence stands in the record alone: here and in the file's metadata it is a copy."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Columns of the results"
    yield ""
    yield f"Schema version {SCHEMA_VERSION}. Made from the records by `python -m orchestrator.report.columns_doc`; the"
    yield "same sentences and units are in the metadata of each Parquet column. A figure that could not be had is null,"
    yield "never 0."
    for name, model in _FILES.items():
        yield from ("", f"## {name}", "")
        for paragraph in inspect.cleandoc(model.__doc__ or "").split("\n\n"):
            yield from (*paragraph.splitlines(), "")
        yield from ("| column | type | unit | meaning |", "|---|---|---|---|")
        for column in columns(model):
            yield f"| `{column.name}` | {_type(column.kind)} | {column.unit or ''} | {_meaning(column)} |"


def _meaning(column: Column) -> str:
    """The sentence without its unit, which has a column of its own here."""
    sentence = " ".join(column.sentence.split()).replace("|", "\\|")
    return sentence.replace(f" Unit: {column.unit}.", "") if column.unit else sentence


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is dict:
        return "JSON object"
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return "JSON list" if isinstance(item, type) and issubclass(item, Record) else f"list of {_type(item)}"
    return str(getattr(kind, "__name__", kind))


if __name__ == "__main__":
    sys.stdout.write(document())
