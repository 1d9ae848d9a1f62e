"""`python -m orchestrator.results.columns_doc > docs/columns.md`: every column of the results, from the records."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from orchestrator.results.columns import SCHEMA_VERSION, Column, columns
from orchestrator.results.rows import AggregatedResult, RawRow
from workers.records import Record

_FILES: dict[str, type[Record]] = {"results.parquet": AggregatedResult, "raw.parquet": RawRow}


def document() -> str:
    """The page as Markdown. The records are the only source of its sentences."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Columns of the results"
    yield ""
    yield f"Schema version {SCHEMA_VERSION}. Made from the records by `python -m orchestrator.results.columns_doc`; the"
    yield "same sentences and units are in the metadata of each Parquet column. A value that could not be measured is"
    yield "null, never 0."
    for name, model in _FILES.items():
        yield from ("", f"## {name}", "")
        for paragraph in inspect.cleandoc(model.__doc__ or "").split("\n\n"):
            yield from (*paragraph.splitlines(), "")
        yield from ("| column | type | unit | meaning |", "|---|---|---|---|")
        for column in columns(model):
            yield f"| `{column.name}` | {_type(column.annotation)} | {column.unit or ''} | {_meaning(column)} |"


def _meaning(column: Column) -> str:
    """The sentence without its unit, which has its own column in the table."""
    sentence = " ".join(column.sentence.split()).replace("|", "\\|")
    return sentence.replace(f" Unit: {column.unit}.", "") if column.unit else sentence


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{word}`" for word in get_args(annotation))
    if get_origin(annotation) is dict:
        return "JSON object"
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return "JSON list" if isinstance(item, type) and issubclass(item, Record) else f"list of {_type(item)}"
    return str(getattr(annotation, "__name__", annotation))


if __name__ == "__main__":
    sys.stdout.write(document())
