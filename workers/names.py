"""The names that transformers gives to options and to types of models, known without importing it.

`names.json` is made by `python -m workers.model.names`, from the version that `constraints.txt` has.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

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
    """Fields that the config of at least one type of model has."""
    model_types: frozenset[str]
    """What `model_type` may be in a config."""
    causal_types: frozenset[str]
    """Those of them that have a causal language model."""

    @property
    def source(self) -> str:
        """Whose names these are, as errors say it."""
        return f"transformers {self.transformers}"

    @property
    def are_all(self) -> bool:
        """Whether what is not named here is known to the installed transformers neither: it is not newer than this."""
        try:
            return Version(version("transformers")) <= Version(self.transformers)
        except PackageNotFoundError:
            return True


NAMES = Names.model_validate_json(Path(__file__).with_suffix(".json").read_bytes())
