"""Turns pydantic's validation errors into problems in the terms of the sweep file."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestrator.config.problems import MAX_LISTED, Path, Problem, did_you_mean, format_value, nearest
from orchestrator.config.settings import AXES

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
    "too_short": "is empty; it needs at least one entry",
    "string_too_short": "the text is empty",
    "string_too_long": "is longer than {max_length} characters",
    "greater_than": "{value} is not greater than {gt}",
    "greater_than_equal": "{value} is less than {ge}",
    "less_than_equal": "{value} is more than {le}",
    "finite_number": "{value} is not a finite number",
    "missing": "is required",
    "date_from_datetime_parsing": "{value} is not a date; write it as 2026-01-31",
    "date_parsing": "{value} is not a date; write it as 2026-01-31",
    "date_type": "{value} is not a date; write it as 2026-01-31",
}
"""Pydantic's error type -> the message for the author of the YAML."""


def problems(error: ValidationError, data: Any, schema: dict[str, Any]) -> list[Problem]:
    """One problem for each invalid place; a misspelt required key is one problem, not two."""
    by_path: dict[Path, Problem] = {}
    details = error.errors(include_url=False)
    for detail in details[:MAX_LISTED]:
        path = _in_file(detail["loc"], data)
        if detail["type"] == "too_short" and any(other[: len(path)] == path for other in by_path):
            continue  # pydantic counts the valid items only, and the others are problems already
        by_path.setdefault(path, Problem(path, _message(detail, path, schema)))
    misspelt = {
        (*path[:-1], _near_key(path, schema)) for path, problem in by_path.items() if "unknown key" in problem.message
    }
    rest = [Problem(_in_file(detail["loc"], data), str(detail["msg"])) for detail in details[MAX_LISTED:]]
    return [problem for path, problem in by_path.items() if path not in misspelt] + rest


def _in_file(loc: Path, data: Any) -> Path:
    """Pydantic's path without the parts that the file does not have: union tags, and positions in a scalar."""
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
    error_type, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if error_type == "extra_forbidden":
        return _unknown_key(path, schema)
    if error_type == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"{format_value(value)} is not one of {', '.join(known)}{did_you_mean(value, known)}"
    if error_type == "string_pattern_mismatch":
        rule = "use at most 100 letters, digits, '.', '_' and '-', and start with a letter or digit"
        return f"{format_value(value)} is not a valid name; {rule}"
    if quotes := _quotes(error_type, value):
        return quotes
    if error_type in _PHRASES:
        return _PHRASES[error_type].format(
            value=format_value(value), **{key: _number(bound) for key, bound in context.items()}
        )
    return str(detail["msg"])


def _quotes(error_type: str, value: object) -> str | None:
    """The message for a value whose quotes are the only problem; null where there is another."""
    if error_type in ("int_type", "float_type") and isinstance(value, str) and _NUMBER.fullmatch(value):
        return f"{value!r} is text; remove the quotes"
    if error_type == "string_type" and isinstance(value, bool | int | float):
        return f"{format_value(value)} is not text; put it in quotes"
    return None


def _number(bound: object) -> object:
    return f"{bound:g}" if isinstance(bound, float) else bound


def _unknown_key(path: Path, schema: dict[str, Any]) -> str:
    key = str(path[-1])
    if len(path) == 1 and (key in AXES or key.startswith(("generate.", "load."))):
        return f"unknown key; {key!r} belongs under `axes`"
    near = did_you_mean(key, _keys(path[:-1], schema))
    return f"unknown key{near}" if near else f"unknown key; the keys here are {', '.join(_keys(path[:-1], schema))}"


def _near_key(path: Path, schema: dict[str, Any]) -> str | None:
    return nearest(path[-1], _keys(path[:-1], schema))


def _keys(path: Path, schema: dict[str, Any]) -> list[str]:
    """The valid keys of a mapping at `path`."""
    return sorted({name for place in _at(schema, path, schema) for name in place.get("properties", {})})


def _at(schema: dict[str, Any], path: Path, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema that applies at `path`."""
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
