"""Pydantic's errors over a sweep file -> problems in the file's own words."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestrator.config._problems import MOST, Path, Problem, did_you_mean, nearest, shown
from orchestrator.config._settings import AXES

_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?")

_PHRASES = {
    "int_type": "{value} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "float_type": "{value} is not a number",
    "string_type": "{value} is not text",
    "bool_type": "{value} is not true or false",
    "dict_type": "{value} is not a mapping of keys to values",
    "model_type": "{value} is not a mapping of keys to values",
    "tuple_type": "{value} is not a list",
    "list_type": "{value} is not a list",
    "too_short": "is empty, so there is nothing to do",
    "string_too_short": "the text is empty",
    "string_too_long": "is longer than {max_length} characters",
    "greater_than": "{value} is not greater than {gt}",
    "greater_than_equal": "{value} is less than {ge}",
    "less_than_equal": "{value} is more than {le}",
    "finite_number": "{value} is not a finite number",
    "missing": "is required",
    "date_from_datetime_parsing": "{value} is not a date, as 2026-01-31",
    "date_parsing": "{value} is not a date, as 2026-01-31",
    "date_type": "{value} is not a date, as 2026-01-31",
}
"""What pydantic's error types mean to someone who wrote YAML."""


def problems(error: ValidationError, data: Any, schema: dict[str, Any]) -> list[Problem]:
    """One problem for each place that is wrong; a required key that is there misspelt is one problem, not two."""
    found: dict[Path, Problem] = {}
    details = error.errors(include_url=False)
    for detail in details[:MOST]:
        path = _in_file(detail["loc"], data)
        if detail["type"] == "too_short" and any(other[: len(path)] == path for other in found):
            continue  # pydantic counts the good items alone, and the others have been named
        found.setdefault(path, Problem(path, _message(detail, path, schema)))
    meant = {
        (*path[:-1], _near_key(path, schema)) for path, problem in found.items() if "unknown key" in problem.message
    }
    rest = [Problem(_in_file(detail["loc"], data), str(detail["msg"])) for detail in details[MOST:]]
    return [problem for path, problem in found.items() if path not in meant] + rest


def _in_file(loc: Path, data: Any) -> Path:
    """Pydantic's place without what the file does not have: union tags, positions in what is a scalar."""
    kept: list[str | int] = []
    here = data
    for part in loc:
        tag = isinstance(part, str) and part.startswith("<") and not (isinstance(here, dict) and part in here)
        if tag or (isinstance(part, int) and not isinstance(here, list)):
            continue
        if isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        else:
            here = here.get(part) if isinstance(here, dict) else None
        kept.append(part)
    return tuple(kept)


def _message(detail: Any, path: Path, schema: dict[str, Any]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path, schema)
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"{shown(value)} is none of {', '.join(known)}{did_you_mean(value, known)}"
    if kind == "string_pattern_mismatch":
        return f"{shown(value)} may have letters, digits, '.', '_' and '-' only, beginning with a letter or digit"
    if quotes := _quotes(kind, value):
        return quotes
    if kind in _PHRASES:
        return _PHRASES[kind].format(value=shown(value), **{key: _number(bound) for key, bound in context.items()})
    return str(detail["msg"])


def _quotes(kind: str, value: object) -> str | None:
    """What is wrong where it is the quotes alone; null where it is more."""
    if kind in ("int_type", "float_type") and isinstance(value, str) and _NUMBER.fullmatch(value):
        return f"{value!r} is text; take the quotes away"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"{shown(value)} is not text; put it in quotes"
    return None


def _number(bound: object) -> object:
    return f"{bound:g}" if isinstance(bound, float) else bound


def _unknown_key(path: Path, schema: dict[str, Any]) -> str:
    key = str(path[-1])
    if len(path) == 1 and (key in AXES or key.startswith(("generate.", "load."))):
        return f"unknown key; {key!r} belongs under `axes`"
    near = did_you_mean(key, _keys(path[:-1], schema))
    return f"unknown key{near}" if near else f"unknown key; there are {', '.join(_keys(path[:-1], schema))}"


def _near_key(path: Path, schema: dict[str, Any]) -> str | None:
    return nearest(path[-1], _keys(path[:-1], schema))


def _keys(path: Path, schema: dict[str, Any]) -> list[str]:
    """The keys that a mapping at `path` may have."""
    return sorted({name for place in _at(schema, path, schema) for name in place.get("properties", {})})


def _at(schema: dict[str, Any], path: Path, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema that may stand at `path`."""
    if "$ref" in schema:
        yield from _at(root["$defs"][schema["$ref"].rpartition("/")[2]], path, root)
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _at(option, path, root)
    if not path:
        yield schema
    elif isinstance(path[0], int):
        yield from _at(schema.get("items", {}), path[1:], root)
    else:
        yield from _at(schema.get("properties", {}).get(path[0], {}), path[1:], root)
