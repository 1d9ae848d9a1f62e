"""Records -> flat, typed Arrow columns, each with the type, sentence and unit of its field.

Nested records are flattened in field order, with the prefixes of `_PREFIXES`. A `Literal` becomes a dictionary column
with all its values, ordered if the values are (confidence). Dicts and tuples of records become JSON.
"""

import json
import re
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from orchestrator.results.rows import AggregatedResult, Spread
from workers.records import (
    Confidence,
    Distribution,
    EnergyMetrics,
    FlopsEstimates,
    FlopsResult,
    InferenceMetrics,
    RawProcessResult,
    Record,
    WarmupDone,
)

SCHEMA_VERSION = 1
"""1: the first."""

_PREFIXES: dict[type[Record], str] = {
    FlopsResult: "flops_",
    FlopsEstimates: "flops_",
    WarmupDone: "warmup_",
    Distribution: "{field}_",
    Spread: "{field}_",
}
_RENAMED: dict[tuple[type[BaseModel], str], str] = {
    (EnergyMetrics, "duration_s"): "energy_duration_s",  # a bare `duration_s` is ambiguous next to `window_s`
}
_DROPPED: set[tuple[type[BaseModel], str]] = {
    (RawProcessResult, "cell_id"),
    (RawProcessResult, "repeat"),
}  # the row has them already
_RAW_ONLY: set[tuple[type[BaseModel], str]] = {
    (InferenceMetrics, "ttft_s"),
    (InferenceMetrics, "itl_s"),
    (InferenceMetrics, "e2e_s"),
}  # one value per generation, too many for `results.parquet`
_ORDERED = (get_args(Confidence),)
_UNIT = re.compile(r"Unit: (.+?)\.?$")
_SCALARS: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


class Column(NamedTuple):
    """One column: its name, type, meaning and unit, and the path to its value in the record."""

    name: str
    annotation: Any
    sentence: str
    unit: str | None
    path: tuple[str, ...]

    @property
    def type(self) -> pa.DataType:
        """The Arrow type."""
        return _arrow_type(self.annotation)

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with sentence and unit in its metadata."""
        metadata = {"description": self.sentence}
        if self.unit:
            metadata["unit"] = self.unit
        if get_origin(self.annotation) is Literal:
            # Polars reads an Arrow dictionary as Categorical; with its own metadata key, as an ordered Enum.
            metadata["_PL_ENUM_VALUES2"] = "".join(f"{len(word)};{word}" for word in get_args(self.annotation))
        return pa.field(self.name, self.type, metadata=metadata)

    def value(self, record: Record) -> Any:
        """The column's value in `record`; null if a record on the path is null."""
        value: Any = record
        for step in self.path:
            if value is None:
                return None
            value = getattr(value, step)
        return value

    def array(self, records: Sequence[Record]) -> pa.Array:
        """The column of all `records`. A dictionary holds every value of the `Literal`, used or not."""
        values = [self.value(record) for record in records]
        if get_origin(self.annotation) is Literal:
            words = get_args(self.annotation)
            index = {word: i for i, word in enumerate(words)}
            codes = pa.array([None if value is None else index[value] for value in values], pa.int8())
            return pa.DictionaryArray.from_arrays(codes, pa.array(words), ordered=words in _ORDERED)
        if self.type == pa.string():
            values = [value if isinstance(value, str | None) else _json(value) for value in values]
        return pa.array(values, self.type)


def columns(model: type[Record]) -> tuple[Column, ...]:
    """The flat columns of a record, without computed properties such as `precision_factor`."""
    excluded = _DROPPED | (_RAW_ONLY if model is AggregatedResult else set())
    flat = tuple(_walk(model, (), "", excluded))
    names = [column.name for column in flat]
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise TypeError(f"{model.__name__}: several fields become the column {', '.join(sorted(duplicates))}")
    return flat


@cache
def schema(model: type[Record]) -> pa.Schema:
    """The Arrow schema of a record's rows."""
    return pa.schema(
        [column.field for column in columns(model)],
        metadata={"joulegrid_schema": f"{model.__name__}/{SCHEMA_VERSION}"},
    )


def table(model: type[Record], rows: Sequence[Record]) -> pa.Table:
    """Rows as an Arrow table with the record's schema, even without rows."""
    return pa.Table.from_arrays([column.array(rows) for column in columns(model)], schema=schema(model))


def _walk(
    model: type[BaseModel], path: tuple[str, ...], prefix: str, excluded: set[tuple[type[BaseModel], str]]
) -> Iterator[Column]:
    for name, field in model.model_fields.items():
        if (model, name) in excluded:
            continue
        annotation = _without_null(field.annotation)
        sentence = field.description or ""
        if not _is_record(annotation):
            column_name = prefix + _RENAMED.get((model, name), name)
            yield Column(column_name, annotation, sentence, _unit(sentence), (*path, name))
            continue
        nested = _PREFIXES.get(annotation, "")
        for column in _walk(annotation, (*path, name), prefix + nested.format(field=name), excluded):
            yield _describe_statistic(column, sentence) if "{field}" in nested else column


def _describe_statistic(column: Column, figure: str) -> Column:
    """Prepend the sentence of the figure to that of its statistic ("Mean."), and use the figure's unit."""
    if column.annotation is not float or column.unit:  # a count or a ratio, which has another unit
        figure = _UNIT.sub("", figure).rstrip()
    return column._replace(sentence=f"{figure} {column.sentence}", unit=column.unit or _unit(figure))


def _unit(sentence: str) -> str | None:
    match = _UNIT.search(sentence)
    return match[1] if match else None


def _without_null(annotation: Any) -> Any:
    """`X | None` and `Annotated[X, ...]` -> X."""
    if get_origin(annotation) is Annotated:
        return _without_null(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not types.NoneType]
        if len(others) == 1:
            return _without_null(others[0])
    return annotation


def _arrow_type(annotation: Any) -> pa.DataType:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if get_origin(annotation) is Literal:
        return pa.dictionary(pa.int8(), pa.string(), ordered=get_args(annotation) in _ORDERED)
    if get_origin(annotation) is tuple:
        item = _without_null(get_args(annotation)[0])
        return pa.string() if _is_record(item) else pa.list_(_arrow_type(item))
    if get_origin(annotation) is dict:
        return pa.string()
    raise TypeError(f"no column type for {annotation}")


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Record)


def _json(value: Any) -> str:
    """JSON of a value without a flat type: a dict, or a tuple of records."""
    if isinstance(value, tuple):
        value = [item.model_dump(mode="json") for item in value]
    return json.dumps(value, sort_keys=True)
