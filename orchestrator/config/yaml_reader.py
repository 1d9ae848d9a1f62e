"""YAML -> plain data with the line of every key. Refuses duplicate keys and other mistakes that YAML accepts silently.

Scalars follow YAML 1.2's core schema, as in editors: `no` and `on` are text, `1e-3` is a number, `1:30` and
`2026-01-01` are text. PyYAML itself follows 1.1, where they are not.
"""

import math
import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.config.problems import Origin, Path, Problem, SweepError, cut, format_value
from workers.records.errors import JouleGridError

_MAX_VALUES = 100_000
"""Most keys and values of a file. Reading more is slow, and anchors that refer to each other can expand to more than
fits in memory."""

_TOO_MANY = f"has more than {_MAX_VALUES:,} values, including those that anchors repeat"

_TOO_DEEP = "is nested too deeply, or has an anchor that contains itself"

_MAX_DIGITS = 40
"""Most digits of a whole number. No valid one has more than 20, and Python refuses to read thousands."""

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class _Core(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """As in PyYAML, but stops once there are too many nodes."""
        self.nodes += 1
        if self.nodes > _MAX_VALUES:
            raise _TooManyError
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: MappingNode) -> None:
        """As in PyYAML, but keeps each key once: mappings that merge each other many times would fill the memory."""
        super().flatten_mapping(node)
        node.value = list({_identity(pair[0]): pair for pair in node.value}.values())


class _TooManyError(JouleGridError):
    """More nodes than a sweep can need."""


def _identity(key: Node) -> object:
    return (key.tag, key.value) if isinstance(key, ScalarNode) else id(key)


for _tag, _pattern, _first in (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(f"^(?:{_INT.pattern})$"), list("-+0123456789")),
    ("float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+.0123456789")),
    ("merge", re.compile(r"^<<$"), ["<"]),
):
    _Core.add_implicit_resolver(_TAG + _tag, _pattern, _first)


def read(text: str, file: str) -> tuple[Any, Origin]:
    """The data of a YAML text, and the line of each part.

    Raises:
        SweepError: invalid YAML, a duplicate key, a tag without a JSON type, or too many values.
    """
    loader = None
    try:
        loader = _Core(text)
        node = loader.get_single_node()
        reader = _Reader(loader, file)
        data = None if node is None else reader.value(node, ())
    except yaml.reader.ReaderError as error:
        message = f"not valid YAML: the character {chr(error.character)!r} is not allowed"
        raise SweepError([Problem((), message, text.count("\n", 0, error.position) + 1)], Origin(file)) from error
    except yaml.MarkedYAMLError as error:
        raise SweepError([_syntax_problem(error)], Origin(file)) from error
    except _TooManyError as error:
        raise SweepError([Problem((), _TOO_MANY)], Origin(file)) from error
    except RecursionError as error:
        raise SweepError([Problem((), _TOO_DEEP)], Origin(file)) from error
    finally:
        if loader is not None:
            loader.dispose()
    if reader.problems:
        raise SweepError(reader.problems, reader.origin)
    return data, reader.origin


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    hint = "; indent with spaces, not tabs" if "'\\t'" in (error.problem or "") else ""
    where = f" (column {mark.column + 1})" if mark else ""
    context = f" {error.context}" if error.context else ""
    return Problem((), f"not valid YAML: {error.problem}{context}{where}{hint}", mark.line + 1 if mark else None)


class _Reader:
    """Turns nodes into values, and collects their lines and problems."""

    def __init__(self, loader: _Core, file: str) -> None:
        self.loader = loader
        self.lines: dict[Path, int] = {}
        self.origin = Origin(file, self.lines)
        self.problems: list[Problem] = []
        self.merged: set[int] = set()
        self.count = 0

    def value(self, node: Node, path: Path) -> Any:
        self.count += 1
        if self.count > _MAX_VALUES:
            raise _TooManyError
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self.mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        if id(node) not in self.merged:  # an alias visits its node again, already merged
            self.merged.add(id(node))
            self.refuse_duplicates(node, path)
            self.loader.flatten_mapping(node)
        data = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
                line = key_node.start_mark.line + 1
                self.problems.append(Problem(path, f"{_key_text(key_node)} is not text; put it in quotes", line))
                continue
            self.lines[*path, key] = key_node.start_mark.line + 1
            data[key] = self.value(value_node, (*path, key))
        return data

    def refuse_duplicates(self, node: MappingNode, path: Path) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, ScalarNode):
                line = key_node.start_mark.line + 1
                if key_node.value in first:
                    message = f"duplicate key; it is already on line {first[key_node.value]}"
                    self.problems.append(Problem((*path, key_node.value), message, line))
                first.setdefault(key_node.value, line)

    def scalar(self, node: Node, path: Path) -> str | int | float | bool | None:
        tag, text = node.tag.removeprefix(_TAG), node.value if isinstance(node, ScalarNode) else ""
        if tag == "null":
            return None
        if tag == "bool" and text.lower() in ("true", "false"):
            return bool(text.lower() == "true")
        if tag == "int" and _INT.fullmatch(text) and len(text) <= _MAX_DIGITS:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if tag == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        if tag in ("int", "float") and (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
            self.problems.append(Problem(path, f"{cut(text)} is out of range: a number has at most 64 bits"))
        elif tag != "str":
            self.problems.append(Problem(path, f"the tag {cut(node.tag)!r} is not supported; use plain values only"))
        return str(text)


def _key_text(node: Node) -> str:
    return f"the key {format_value(node.value)}" if isinstance(node, ScalarNode) else "a key"
