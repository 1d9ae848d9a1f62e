"""Records -> flat, typed Arrow columns: a field's type, sentence and unit become its column's.

Nested records are flattened in their order, with a prefix where `_PREFIXES` says so. A `Literal` becomes a dictionary
column over all its values, ordered where the values are (confidence); dicts and tuples of records become JSON.
"""

import json
import re
import types
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from orchestrator.results import AggregatedResult, Spread
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
    (EnergyMetrics, "duration_s"): "energy_duration_s",  # beside `window_s`, a bare duration says nothing
}
_DROPPED: set[tuple[type[BaseModel], str]] = {
    (RawProcessResult, "cell_id"),
    (RawProcessResult, "repeat"),
}  # the row says them already
_RAW_ONLY: set[tuple[type[BaseModel], str]] = {
    (InferenceMetrics, "ttft_s"),
    (InferenceMetrics, "itl_s"),
    (InferenceMetrics, "e2e_s"),
}  # one value a generation: for `raw.parquet`
_ORDERED = (get_args(Confidence),)
_UNIT = re.compile(r"Unit: (.+?)\.?$")
_SCALARS: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


class Column(NamedTuple):
    """One column: how it is called and typed, what it means, and where in the record its value lies."""

    name: str
    kind: Any
    sentence: str
    unit: str | None
    path: tuple[str, ...]

    @property
    def type(self) -> pa.DataType:
        """The Arrow type."""
        return _arrow_type(self.kind)

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with sentence and unit in its metadata."""
        metadata = {"description": self.sentence}
        if self.unit:
            metadata["unit"] = self.unit
        if get_origin(self.kind) is Literal:
            # Arrow's dictionary is a Categorical to Polars; with its own key beside it, an Enum that knows the order.
            metadata["_PL_ENUM_VALUES2"] = "".join(f"{len(word)};{word}" for word in get_args(self.kind))
        return pa.field(self.name, self.type, metadata=metadata)

    def value(self, record: Record) -> Any:
        """The column's value in `record`; null where a record on the way to it is."""
        value: Any = record
        for step in self.path:
            if value is None:
                return None
            value = getattr(value, step)
        return value

    def array(self, records: Sequence[Record]) -> pa.Array:
        """The column over all `records`. A dictionary holds every value that the vocabulary has, used or not."""
        values = [self.value(record) for record in records]
        if get_origin(self.kind) is Literal:
            words = get_args(self.kind)
            index = {word: i for i, word in enumerate(words)}
            codes = pa.array([None if value is None else index[value] for value in values], pa.int8())
            return pa.DictionaryArray.from_arrays(codes, pa.array(words), ordered=words in _ORDERED)
        if self.type == pa.string():
            values = [value if isinstance(value, str | None) else _json(value) for value in values]
        return pa.array(values, self.type)


def columns(model: type[Record]) -> tuple[Column, ...]:
    """The flat columns of a record, computed properties such as `precision_factor` excluded."""
    left_out = _DROPPED | (_RAW_ONLY if model is AggregatedResult else set())
    found = tuple(_walk(model, (), "", left_out))
    names = [column.name for column in found]
    clashes = {name for name in names if names.count(name) > 1}
    if clashes:
        raise TypeError(f"{model.__name__}: several fields would be the column {', '.join(sorted(clashes))}")
    return found


@cache
def schema(model: type[Record]) -> pa.Schema:
    """The Arrow schema of a record's rows."""
    return pa.schema(
        [column.field for column in columns(model)],
        metadata={"joulegrid_schema": f"{model.__name__}/{SCHEMA_VERSION}"},
    )


def table(model: type[Record], rows: Sequence[Record]) -> pa.Table:
    """Rows as an Arrow table with the record's schema, also when there are none."""
    return pa.Table.from_arrays([column.array(rows) for column in columns(model)], schema=schema(model))


def _walk(
    model: type[BaseModel], path: tuple[str, ...], prefix: str, left_out: set[tuple[type[BaseModel], str]]
) -> Iterator[Column]:
    for name, field in model.model_fields.items():
        if (model, name) in left_out:
            continue
        kind = _without_null(field.annotation)
        sentence = field.description or ""
        if not _is_record(kind):
            yield Column(prefix + _RENAMED.get((model, name), name), kind, sentence, _unit(sentence), (*path, name))
            continue
        nested = _PREFIXES.get(kind, "")
        for column in _walk(kind, (*path, name), prefix + nested.format(field=name), left_out):
            yield _of_figure(column, sentence) if "{field}" in nested else column


def _of_figure(column: Column, figure: str) -> Column:
    """A statistic of a figure: "Mean." alone says nothing, so the figure's own sentence and unit go before it."""
    if column.kind is not float or column.unit:  # a count, or a share: not in the figure's unit
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
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        if len(kinds) == 1:
            return _without_null(kinds[0])
    return annotation


def _arrow_type(kind: Any) -> pa.DataType:
    if kind in _SCALARS:
        return _SCALARS[kind]
    if get_origin(kind) is Literal:
        return pa.dictionary(pa.int8(), pa.string(), ordered=get_args(kind) in _ORDERED)
    if get_origin(kind) is tuple:
        item = _without_null(get_args(kind)[0])
        return pa.string() if _is_record(item) else pa.list_(_arrow_type(item))
    if get_origin(kind) is dict:
        return pa.string()
    raise TypeError(f"no column type for {kind}")


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)


def _json(value: Any) -> str:
    """What has no flat type: a dict, or a tuple of records."""
    if isinstance(value, tuple):
        value = [item.model_dump(mode="json") for item in value]
    return json.dumps(value, sort_keys=True)
