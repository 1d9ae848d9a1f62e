"""`python -m orchestrator.config.reference > docs/sweep-file.md`: writes all keys of the sweep file from its models."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.config.settings import _FIXED
from orchestrator.config.sweep_file import SweepFile
from workers.records import Cell

_OPENING = """# The sweep file

`python -m orchestrator.config.reference` writes this page from the models that check sweep files. Editors complete and
check the same keys with the JSON Schema that `python -m orchestrator schema` prints; the first line of each file in
`examples/` points to it. An invalid file gives one error with all problems, each with its line and the nearest valid
word.

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
  - - {input_tokens: 32, output_tokens: 64}   # values that belong together: one axis, two points
    - {input_tokens: 256, output_tokens: 8}
exclude:
  - {precision: fp32, batch_size: 8}       # a rule excludes the points that match all of it
device: cpu
repeats: 3
```

The grid is models x precisions x each axis x each group, minus what `exclude` matches: here 1 x 2 x 2 x 2 - 2 = 6
cells, each measured three times. To see the grid before it runs:

```sh
python -m orchestrator plan sweep.yaml
```
"""

_SETTINGS = """\
The settings of a cell. Under `axes` and in a rule of `exclude`, a setting has one value or a list; in a member of a
group it has one value. Use `model` (by name) and `precision` in groups and rules only: their axes are `models` and
`precisions`."""

_OPTIONS = {
    "generate.NAME": "A field of transformers' GenerationConfig, such as `generate.top_p: [0.9, 1.0]`.",
    "load.NAME": "An argument of transformers' `from_pretrained`, such as `load.experts_implementation`, or a field of"
    " the model's config, such as `load.num_hidden_layers`.",
}

_SCALARS = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true`, `false`"}

_RESERVED = "JouleGrid sets these options itself. A sweep cannot set them:"


def document() -> str:
    """The page as Markdown. The models hold each sentence; this page and the JSON Schema copy it."""
    return "\n".join(_lines(SweepFile.model_json_schema())) + "\n"


def _lines(schema: Mapping[str, Any]) -> Iterator[str]:
    yield _OPENING
    yield "## Keys"
    yield from ("", "Required: " + ", ".join(f"`{key}`" for key in schema["required"]) + ", and `precisions`.", "")
    yield from _table(schema["properties"], schema["required"])
    yield from ("", "## Settings", "", _SETTINGS, "")
    yield from _table({key: one | _cells(key) for key, one in _point(schema).items()}, ())
    yield from (f"| `{key}` | any |  | {meaning} |" for key, meaning in _OPTIONS.items())
    yield from ("", _RESERVED, "", "| option | why, or what to use |", "|---|---|")
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
        yield f"| `{key}` | {_type(key, field)} | {default} | {meaning} |"


def _point(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that a member of a group may have."""
    settings: Mapping[str, Any] = schema["properties"]["groups"]["items"]["items"]["properties"]
    return settings


def _cells(key: str) -> dict[str, Any]:
    """A setting's default, from `Cell`; `model` and `precision` have a sentence instead."""
    if key in ("model", "precision"):
        return {"description": f"One of `{key}s`."}
    return {"default": Cell.model_fields[key].default}


def _default(field: Mapping[str, Any]) -> str:
    if "default" not in field:
        return ""
    if _records(field) and field["default"] is not None and not isinstance(field["default"], str):
        return "see below"
    return "" if field["default"] in ([], {}) else f"`{json.dumps(field['default'])}`"


def _type(key: str, field: Mapping[str, Any]) -> str:
    """The type of a value, in words."""
    if "anyOf" in field or "oneOf" in field:
        types = [
            _type(key, option) for option in field.get("anyOf", field.get("oneOf")) if option.get("type") != "null"
        ]
        lists = [name for name in types if name.startswith("list of ")]
        one = " or ".join(name for name in types if name not in lists)
        return f"{one}, or a list" if lists == [f"list of {one}"] else " or ".join(types)
    if "enum" in field:
        return "one of " + ", ".join(f"`{word}`" for word in field["enum"])
    if "$ref" in field:
        return "any" if field["$ref"].endswith("/JsonValue") else f"[mapping](#{key})"
    if field.get("type") == "array":
        return f"list of {_type(key, field['items'])}"
    if field.get("type") == "object":
        return "[settings](#settings)" if "patternProperties" in field else "mapping"
    return _SCALARS[field["type"]] + _bound(field) if field.get("format") != "date" else "date"


def _bound(field: Mapping[str, Any]) -> str:
    words = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<="}
    return ",".join(f" {sign} {field[name]:,}" for name, sign in words.items() if name in field)


def _records(field: Mapping[str, Any]) -> list[str]:
    """Names of the records that a value may be."""
    options = [field] + [option for name in ("anyOf", "oneOf") for option in field.get(name, ())]
    return [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]


if __name__ == "__main__":
    sys.stdout.write(document())
