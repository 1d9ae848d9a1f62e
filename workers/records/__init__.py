"""What crosses the wire between driver and workers. Imports nothing but pydantic: the driver never loads torch.

What to measure: `Cell`, `Run`. What comes back: `Outcome`, with a `RawProcessResult` per rank (`InferenceMetrics`,
`EnergyMetrics`, `ComputeMetrics`, `PrecisionMetadata`, `Environment`) or a `ProcessFailure`.
"""

from workers.records._base import Confidence, Record, Status
from workers.records.cell import (
    PRECISIONS,
    Attention,
    Cell,
    Device,
    ModelSpec,
    Precision,
    Quality,
    RandomPrompts,
    Run,
    TextPrompts,
    Warmup,
    Window,
    digest,
)
from workers.records.energy import EnergyMethod, EnergyMetrics, GpuState
from workers.records.flops import (
    ComputeMetrics,
    FlopsEstimates,
    FlopsMethod,
    FlopsResult,
    InferenceCost,
    MemoryMethod,
    Shape,
)
from workers.records.inference import Distribution, InferenceMetrics, WarmupDone
from workers.records.precision import Dtype, NormalisedMetrics, PrecisionMetadata
from workers.records.result import (
    CombinedMetrics,
    Environment,
    Outcome,
    ProcessFailure,
    QualityMetrics,
    RawProcessResult,
)

__all__ = [
    "PRECISIONS", "Attention", "Cell", "CombinedMetrics", "ComputeMetrics", "Confidence", "Device", "Distribution",
    "Dtype", "EnergyMethod", "EnergyMetrics", "Environment", "FlopsEstimates", "FlopsMethod", "FlopsResult", "GpuState",
    "InferenceCost", "InferenceMetrics", "MemoryMethod", "ModelSpec", "NormalisedMetrics", "Outcome", "Precision",
    "PrecisionMetadata", "ProcessFailure", "Quality", "QualityMetrics", "RandomPrompts", "RawProcessResult", "Record",
    "Run", "Shape", "Status", "TextPrompts", "Warmup", "WarmupDone", "Window", "digest",
]  # fmt: skip
