"""The base class of every record, and the vocabularies that several records share."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

Confidence = Literal["low", "medium", "high"]
"""How trustworthy a figure is, in ascending order. The order is part of the Parquet schema."""

Status = Literal["ok", "failed", "oom", "timeout", "lost", "skipped"]
"""How a run ended: measured, exception, out of memory, over its time limit, process or node lost, never started."""


class Record(BaseModel):
    """A frozen, keyword-only record; the string under a field is its documentation everywhere.

    The same sentence becomes the Parquet column's metadata and an entry of `docs/columns.md`. A record rejects unknown
    keys, so that no figure is dropped silently, and rejects infinity and NaN.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Pydantic's copy, without the values that cached properties computed: they may be out of date."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy
