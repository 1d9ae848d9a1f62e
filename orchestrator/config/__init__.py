"""The sweep file: YAML -> `SweepConfig`, or one `SweepError` that lists every problem and its place."""

from orchestrator.config.check import from_mapping, load
from orchestrator.config.problems import Origin, Problem, SweepError
from orchestrator.config.settings import AXES
from orchestrator.config.sweep_file import (
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
