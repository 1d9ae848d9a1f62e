"""What driver and workers send to each other. Imports nothing but pydantic: the driver never loads torch.

What to measure: `Cell`, `Run`. The answer: `Outcome`, with a `RawProcessResult` per rank (`InferenceMetrics`,
`EnergyMetrics`, `ComputeMetrics`, `PrecisionMetadata`, `Environment`) or a `ProcessFailure`.
"""

from workers.records.base import Confidence, Record, Status
from workers.records.cell import (
    Attention,
    Cell,
    Device,
    ModelSpec,
    Quality,
    RandomPrompts,
    Run,
    TextPrompts,
    Warmup,
    Window,
    digest,
)
from workers.records.energy import EnergyMethod, EnergyMetrics, GpuState
from workers.records.finding import Finding
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
from workers.records.precision import (
    DTYPES,
    PRECISION_SPECS,
    PRECISIONS,
    Dtype,
    NormalisedMetrics,
    Precision,
    PrecisionMetadata,
)
from workers.records.prepared import Prepared
from workers.records.result import (
    NO_CAPACITY,
    CombinedMetrics,
    Environment,
    Outcome,
    ProcessFailure,
    QualityMetrics,
    RawProcessResult,
)
from workers.records.wire import Hardware, Ready, Reply, Texts

__all__ = [
    "DTYPES", "NO_CAPACITY", "PRECISIONS", "PRECISION_SPECS", "Attention", "Cell", "CombinedMetrics",
    "ComputeMetrics", "Confidence", "Device", "Distribution", "Dtype", "EnergyMethod", "EnergyMetrics",
    "Environment", "Finding", "FlopsEstimates", "FlopsMethod", "FlopsResult", "GpuState", "Hardware",
    "InferenceCost", "InferenceMetrics", "MemoryMethod", "ModelSpec", "NormalisedMetrics", "Outcome", "Precision",
    "PrecisionMetadata", "Prepared", "ProcessFailure", "Quality", "QualityMetrics", "RandomPrompts",
    "RawProcessResult", "Ready", "Record", "Reply", "Run", "Shape", "Status", "TextPrompts", "Texts", "Warmup",
    "WarmupDone", "Window", "digest",
]  # fmt: skip
