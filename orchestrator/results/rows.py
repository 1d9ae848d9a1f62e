"""The rows of the two tables: a process of a run in `raw.parquet`, a cell in `results.parquet`."""

from pydantic import NonNegativeFloat, NonNegativeInt

from workers.records import (
    Attention,
    ComputeMetrics,
    Device,
    EnergyMetrics,
    Environment,
    InferenceMetrics,
    NormalisedMetrics,
    Precision,
    PrecisionMetadata,
    QualityMetrics,
    RawProcessResult,
    Record,
    Status,
)


class CellSettings(Record):
    """A cell's settings as flat columns."""

    cell_id: str
    """Hash of the cell's settings; cells with equal settings have equal ids."""
    model: str
    """Name of the model in the sweep."""
    precision: Precision
    """Requested precision."""
    batch_size: NonNegativeInt
    """Sequences per generation, over all ranks."""
    input_tokens: NonNegativeInt
    """Requested prompt tokens per sequence. Unit: tokens."""
    output_tokens: NonNegativeInt
    """Requested new tokens per sequence. Unit: tokens."""
    attention: Attention
    """Requested attention implementation."""
    device_asked: Device
    """Requested device."""
    processes: NonNegativeInt
    """Data-parallel ranks."""
    tensor_parallel: NonNegativeInt
    """GPUs that one replica is split over."""
    accelerator_type: str | None = None
    """GPU model that the cell is pinned to; null if any will do."""
    settings: str
    """The settings that differ from their defaults, as JSON."""


class SweepInfo(Record):
    """The sweep of a row, and the driver that ran it."""

    sweep: str
    """Name of the sweep."""
    sweep_hash: str
    """Hash of all settings of the sweep."""
    git_commit: str | None = None
    """Git commit of the sweep file's folder, with `-dirty` if it had changes; null outside a repository."""
    ray_version: str
    """Version of Ray."""
    driver_host: str
    """Host name of the driver."""
    started_unix_s: NonNegativeFloat
    """Start of the driver. Unit: s since 1970."""


class Spread(Record):
    """Statistics of a figure over the repeats."""

    mean: float | None = None
    """Geometric mean over the repeats, arithmetic if one is zero; null if no repeat has the figure."""
    std: NonNegativeFloat | None = None
    """Sample standard deviation over the repeats; null with fewer than two."""
    log_std: NonNegativeFloat | None = None
    """Sample standard deviation of the natural logarithms; null with fewer than two, or if one is zero. Unit: 1."""
    ci95_low: float | None = None
    """Lower end of the mean's 95 % confidence interval (Student t of the logarithms); null if `log_std` is null."""
    ci95_high: float | None = None
    """Upper end of the mean's 95 % confidence interval (Student t of the logarithms); null if `log_std` is null."""
    n: NonNegativeInt = 0
    """Repeats that have the figure."""
    values: tuple[float | None, ...] = ()
    """Value of each successful repeat, in the order of `repeat_started_unix_s`; null if it has no such figure."""


class Statistics(Record):
    """Statistics over the repeats; the mean of each is the value of the main column."""

    output_tokens_per_s_over_repeats: Spread = Spread()
    """Output tokens/s of each repeat. Unit: tokens/s."""
    ttft_s_over_repeats: Spread = Spread()
    """Mean TTFT of each repeat. Unit: s."""
    tpot_s_over_repeats: Spread = Spread()
    """Mean TPOT of each repeat. Unit: s."""
    e2e_s_over_repeats: Spread = Spread()
    """Mean end-to-end latency of each repeat. Unit: s."""
    energy_per_output_token_j_over_repeats: Spread = Spread()
    """GPU energy per generated token of each repeat. Unit: J/token."""
    peak_memory_mb_over_repeats: Spread = Spread()
    """Peak memory of each repeat. Unit: MB (10^6 bytes)."""


class RawRow(Record):
    """One row of `raw.parquet`: the result of one process of one run, or one failed attempt."""

    cell: CellSettings
    status: Status
    """How the run ended."""
    error_type: str | None = None
    """Class of the error; null without an error."""
    error_message: str | None = None
    """Message of the error; null without an error."""
    error_traceback: str | None = None
    """Traceback of the error, without secrets; null if there is none."""
    error_log: str | None = None
    """Log of the run, relative to the results folder; null if there is none."""
    attempt: NonNegativeInt = 1
    """1-based attempt of the run; each failed attempt has its own row. 0 if the run was not attempted."""
    repeat: NonNegativeInt
    """0-based repeat of the cell."""
    result: RawProcessResult | None = None
    sweep: SweepInfo


class AggregatedResult(Record):
    """One row of `results.parquet`: a cell over its ranks and repeats, failed and skipped ones included.

    Counts, windows and energies are totals over the successful repeats. Figures that each repeat has (tokens/s, mean
    latencies, J/token, FLOP/s, peak memory) are geometric means over the repeats, not ratios of totals:
    `output_tokens_per_s` equals `output_tokens_per_s_over_repeats_mean`, the centre of its confidence interval.
    Percentiles are over all requests of all repeats. FLOPs are of one inference of the whole batch.
    """

    cell: CellSettings
    status: Status
    """`ok` if every repeat is `ok`; otherwise the status of the first failure."""
    error_type: str | None = None
    """Class of the first failure's error; null without a failure."""
    error_message: str | None = None
    """Message of the first failure; null without a failure."""
    error_log: str | None = None
    """Log of the first failure, relative to the results folder; null if there is none."""
    repeats_asked: NonNegativeInt
    """Requested repeats."""
    repeats_ok: NonNegativeInt
    """Successful repeats."""
    repeat_started_unix_s: tuple[NonNegativeFloat, ...] = ()
    """Start of each successful repeat's window. Repeats close in time share disturbances. Unit: s."""
    attempts: NonNegativeInt
    """Attempts over all repeats."""
    load_s: NonNegativeFloat | None = None
    """Longest time to load the model, over ranks and repeats. Unit: s."""
    attention_used: str | None = None
    """Attention implementation that ran; not the requested one if the model lacks it."""
    prior_runs: NonNegativeInt | None = None
    """Largest number of earlier runs of a process that measured this cell."""
    compute_metrics: ComputeMetrics = ComputeMetrics()
    inference_metrics: InferenceMetrics | None = None
    energy_metrics: EnergyMetrics = EnergyMetrics()
    energy_per_output_token_j: NonNegativeFloat | None = None
    """GPU energy per generated token; null if a repeat has no energy. Unit: J/token."""
    energy_per_output_token_uncertainty_j: NonNegativeFloat | None = None
    """Half width of the 95 % interval from the meters alone, separate from the interval over repeats. Unit: J/token."""
    efficiency_flops_per_watt: NonNegativeFloat | None = None
    """FLOP/s per watt of mean GPU power; null without energy or FLOPs. Unit: FLOP/s/W."""
    emissions_g: NonNegativeFloat | None = None
    """CO2 equivalent of the GPU energy; null if not requested or without energy. Unit: g."""
    emissions_source: str | None = None
    """Carbon intensity of the electricity, with its source and date; null if not requested."""
    precision_metadata: PrecisionMetadata | None = None
    normalised_metrics: NormalisedMetrics | None = None
    quality: QualityMetrics = QualityMetrics()
    statistics: Statistics = Statistics()
    environment: Environment | None = None
    mixed: tuple[str, ...] = ()
    """What differs between the runs of this row or their ranks, but should not (GPUs, drivers...)."""
    sweep: SweepInfo
