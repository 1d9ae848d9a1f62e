"""The one base class of every record, and the vocabularies that several records share."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

Confidence = Literal["low", "medium", "high"]
"""How far a figure can be trusted, in ascending order. The order is part of the Parquet schema."""

Status = Literal["ok", "failed", "oom", "timeout", "lost", "skipped"]
"""How a run ended: measured, raised, out of memory, ran over its time, process or node gone, never tried."""


class Record(BaseModel):
    """A frozen, keyword-only record; the string under a field is its documentation everywhere.

    The same sentence ends up in the Parquet column's metadata and in `docs/columns.md`. A record refuses unknown
    keys, so that a figure cannot be dropped on its way, and takes infinity and NaN as errors.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Pydantic's copy, without what properties have computed of the fields: it may not hold any more."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy
