"""The names of transformers' options and model types, without importing it.

`python -m workers.engines.transformers.list_names` writes `transformers_names.json` from the version in
`constraints.txt`.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version
from pydantic import JsonValue

from orchestrator.config.problems import did_you_mean, format_value
from workers.records import Record


class Names(Record):
    """Names of one version of transformers."""

    transformers: str
    """The version."""
    generation: frozenset[str]
    """Fields of `GenerationConfig`."""
    loading: frozenset[str]
    """Arguments of `from_pretrained`."""
    config_fields: frozenset[str]
    """Fields that the config of at least one model type has."""
    model_types: frozenset[str]
    """Valid values of `model_type` in a config."""
    causal_types: frozenset[str]
    """Those that have a causal language model."""

    @property
    def source(self) -> str:
        """The library and version, for error messages."""
        return f"transformers {self.transformers}"

    @property
    def are_all(self) -> bool:
        """Whether the installed transformers knows no other names, because it is not newer than this version."""
        try:
            return Version(version("transformers")) <= Version(self.transformers)
        except PackageNotFoundError:
            return True


NAMES = Names.model_validate_json(Path(__file__).with_suffix(".json").read_bytes())


def unknown_type(fields: Mapping[str, JsonValue], *, trusted: bool) -> str | None:
    """Why transformers does not know the model type of a config; null where it does, or may."""
    model_type = fields.get("model_type")
    may_be = (trusted and "auto_map" in fields) or not NAMES.are_all
    if not isinstance(model_type, str) or model_type in NAMES.model_types or may_be:
        return None
    near = did_you_mean(model_type, NAMES.model_types)
    return f"{format_value(model_type)} is not a model type that {NAMES.source} knows{near}"
