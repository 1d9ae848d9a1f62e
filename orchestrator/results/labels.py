"""The settings that distinguish cells with the same model, precision, batch size and tokens, as text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from workers.records.text import one_line

_SHOWN_ELSEWHERE = {"model", "precision", "batch_size", "input_tokens", "output_tokens"}
_OF_THE_SWEEP = {"engine", "device", "prompts", "warmup", "window", "quality"}
_SECTIONS = ("generate", "load")


def other_settings(row: Mapping[str, Any]) -> dict[str, str]:
    """`select_other_settings` for a result row."""
    return select_other_settings(json.loads(row["settings"]))


def select_other_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that no other column shows, by their names in the sweep file.

    Args:
        settings: The cell's settings that differ from their defaults, as JSON has them.
    """
    top_level = dict(settings)
    options = {
        f"{section}.{name}": value for section in _SECTIONS for name, value in top_level.pop(section, {}).items()
    }
    hidden = _SHOWN_ELSEWHERE | _OF_THE_SWEEP
    return {name: _text(value) for name, value in sorted((top_level | options).items()) if name not in hidden}


def varying_settings(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each row, the other settings that are not the same in all rows."""
    by_row = [other_settings(row) for row in rows]
    names = {name for settings in by_row for name in settings}
    shared = {name for name in names if len({settings.get(name) for settings in by_row}) == 1}
    return [{name: value for name, value in settings.items() if name not in shared} for settings in by_row]


def workload(row: Mapping[str, Any]) -> str:
    """The options that change what a row's tokens or its model are; empty if there are none."""
    return format_settings({name: value for name, value in other_settings(row).items() if _changes_workload(name)})


def short_name(name: str) -> str:
    """A setting's name without its section: `num_beams` for `generate.num_beams`."""
    return name.rpartition(".")[2]


def format_settings(settings: Mapping[str, str]) -> str:
    """`generate.num_beams=2 load.use_cache=true`."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _changes_workload(name: str) -> bool:
    return name.startswith(tuple(f"{section}." for section in _SECTIONS)) and name != "load.quantization_config"


def _text(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else json.dumps(value, sort_keys=True)
