"""What tells apart cells that are alike in model, precision, batch and tokens: their other settings, in words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from workers.records.text import one_line

_SHOWN_ANYWAY = {"model", "precision", "batch_size", "input_tokens", "output_tokens"}
_OF_THE_SWEEP = {"device", "prompts", "warmup", "window", "quality"}
_ROOMS = ("generate", "load")


def others(row: Mapping[str, Any]) -> dict[str, str]:
    """`of_settings` of a result row."""
    return of_settings(json.loads(row["settings"]))


def of_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """A cell's settings that are not its defaults and stand nowhere else, by their names in the sweep file.

    Args:
        settings: What of the cell's record is not its defaults, as JSON has it.
    """
    asked = dict(settings)
    options = {f"{room}.{name}": value for room in _ROOMS for name, value in asked.pop(room, {}).items()}
    hidden = _SHOWN_ANYWAY | _OF_THE_SWEEP
    return {name: _text(value) for name, value in sorted((asked | options).items()) if name not in hidden}


def varied(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each row, the other settings that not all rows share."""
    each = [others(row) for row in rows]
    names = {name for some in each for name in some}
    shared = {name for name in names if len({some.get(name) for some in each}) == 1}
    return [{name: value for name, value in some.items() if name not in shared} for some in each]


def workload(row: Mapping[str, Any]) -> str:
    """The options that make a row's tokens another kind of work, or its model another model; empty without any."""
    return spelled({name: value for name, value in others(row).items() if _bends(name)})


def short(name: str) -> str:
    """A setting's name without the room that it stands in: `num_beams` for `generate.num_beams`."""
    return name.rpartition(".")[2]


def spelled(settings: Mapping[str, str]) -> str:
    """`generate.num_beams=2 load.use_cache=true`."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _bends(name: str) -> bool:
    return name.startswith(tuple(f"{room}." for room in _ROOMS)) and name != "load.quantization_config"


def _text(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else json.dumps(value, sort_keys=True)
