"""`python -m orchestrator.config.reference > docs/sweep-file.md`: every key of the sweep file, from its models."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.config._settings import _FIXED
from orchestrator.config._sweep import SweepFile
from workers.records import Cell

_OPENING = """# The sweep file

Made from the models that check sweep files by `python -m orchestrator.config.reference`. Editors complete and check
the same keys by the JSON Schema that `python -m orchestrator schema` prints; each file in `examples/` points to it in
its first line. What is wrong in a file is said all at once, each with its line and the nearest right word.

```yaml
# sweep.yaml
name: precisions-and-batches
models:
  - name: tiny-llama
    config: {model_type: llama, vocab_size: 1024, hidden_size: 128, intermediate_size: 352, num_hidden_layers: 4,
             num_attention_heads: 4, num_key_value_heads: 2}
precisions: [fp32, bf16]
axes:
  batch_size: [1, 8]                       # each value with each value of the other axes
groups:
  - - {input_tokens: 32, output_tokens: 64}   # values that go together: one axis, two points
    - {input_tokens: 256, output_tokens: 8}
exclude:
  - {precision: fp32, batch_size: 8}       # a rule leaves out the points that match all of it
device: cpu
repeats: 3
```

The grid is models x precisions x each axis x each group, less what `exclude` matches: here 1 x 2 x 2 x 2 - 2 = 6 cells,
each measured three times. See it before it runs:

```sh
python -m orchestrator plan sweep.yaml
```
"""

_SETTINGS = """\
What a cell is made of. Under `axes` and in a rule of `exclude`, a setting has one value or a list of them; in a member
of a group, one value. `model` (by its name) and `precision` stand in groups and rules only: as axes, they are `models`
and `precisions`."""

_OPTIONS = {
    "generate.NAME": "A field of transformers' GenerationConfig, as `generate.top_p: [0.9, 1.0]`.",
    "load.NAME": "An argument of transformers' `from_pretrained`, as `load.experts_implementation`, or a field of the"
    " model's config, as `load.num_hidden_layers`.",
}

_SCALARS = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true`, `false`"}

_KEPT = "Options that the measurement keeps for itself are refused, with what to say instead:"


def document() -> str:
    """The page as Markdown. A sentence stands in the models alone: here and in the JSON Schema it is a copy."""
    return "\n".join(_lines(SweepFile.model_json_schema())) + "\n"


def _lines(schema: Mapping[str, Any]) -> Iterator[str]:
    yield _OPENING
    yield "## Keys"
    yield from ("", "Required: " + ", ".join(f"`{key}`" for key in schema["required"]) + ", and `precisions`.", "")
    yield from _table(schema["properties"], schema["required"])
    yield from ("", "## Settings", "", _SETTINGS, "")
    yield from _table({key: one | _cells(key) for key, one in _point(schema).items()}, ())
    yield from (f"| `{key}` | any |  | {said} |" for key, said in _OPTIONS.items())
    yield from ("", _KEPT, "", "| option | |", "|---|---|")
    yield from (f"| `{key}` | {instead} |" for key, instead in _FIXED.items())
    for key, field in schema["properties"].items():
        for name in _records(field):
            record = schema["$defs"][name]
            yield from ("", f"## `{key}`", "", record["description"], "")
            yield from _table(record["properties"], record.get("required", ()))


def _table(fields: Mapping[str, Mapping[str, Any]], required: Iterable[str]) -> Iterator[str]:
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for key, field in fields.items():
        default = "**required**" if key in required else _default(field)
        meaning = " ".join(field.get("description", "").split()).replace("|", "\\|")
        yield f"| `{key}` | {_kind(key, field)} | {default} | {meaning} |"


def _point(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings, as a member of a group has them."""
    settings: Mapping[str, Any] = schema["properties"]["groups"]["items"]["items"]["properties"]
    return settings


def _cells(key: str) -> dict[str, Any]:
    """What the cell itself says of a setting; `model` and `precision` have no default there."""
    if key in ("model", "precision"):
        return {"description": f"One of `{key}s`."}
    return {"default": Cell.model_fields[key].default}


def _default(field: Mapping[str, Any]) -> str:
    if "default" not in field:
        return ""
    if _records(field) and field["default"] is not None and not isinstance(field["default"], str):
        return "as there"
    return "" if field["default"] in ([], {}) else f"`{json.dumps(field['default'])}`"


def _kind(key: str, field: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in field or "oneOf" in field:
        kinds = [_kind(key, kind) for kind in field.get("anyOf", field.get("oneOf")) if kind.get("type") != "null"]
        several = [kind for kind in kinds if kind.startswith("list of ")]
        one = " or ".join(kind for kind in kinds if kind not in several)
        return f"{one}, or a list" if several == [f"list of {one}"] else " or ".join(kinds)
    if "enum" in field:
        return "one of " + ", ".join(f"`{word}`" for word in field["enum"])
    if "$ref" in field:
        return "any" if field["$ref"].endswith("/JsonValue") else f"[mapping](#{key})"
    if field.get("type") == "array":
        return f"list of {_kind(key, field['items'])}"
    if field.get("type") == "object":
        return "[settings](#settings)" if "patternProperties" in field else "mapping"
    return _SCALARS[field["type"]] + _bound(field) if field.get("format") != "date" else "date"


def _bound(field: Mapping[str, Any]) -> str:
    words = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<="}
    return ",".join(f" {sign} {field[name]:,}" for name, sign in words.items() if name in field)


def _records(field: Mapping[str, Any]) -> list[str]:
    """Names of the records that a value may be."""
    found = [field] + [inner for name in ("anyOf", "oneOf") for inner in field.get(name, ())]
    return [one["$ref"].rpartition("/")[2] for one in found if "$ref" in one]


if __name__ == "__main__":
    sys.stdout.write(document())
