"""The sweep file: YAML -> `SweepConfig`, or one `SweepError` that says everything that is wrong and where."""

from orchestrator.config._load import from_mapping, load
from orchestrator.config._problems import Origin, Problem, SweepError
from orchestrator.config._settings import AXES
from orchestrator.config._sweep import (
    Emissions,
    ModelEntry,
    Placement,
    Prompts,
    QualityText,
    Shuffled,
    SweepConfig,
    SweepFile,
)

__all__ = [
    "load", "from_mapping", "AXES", "SweepConfig", "SweepError", "SweepFile",
    "Emissions", "ModelEntry", "Placement", "Prompts", "QualityText", "Shuffled",
    "Origin", "Problem",
]  # fmt: skip
