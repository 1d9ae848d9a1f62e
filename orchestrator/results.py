"""The driver's records: what one run of several ranks amounts to, and what a cell's repeats amount to together."""

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
    """A cell's settings, flat: the columns that say what was measured."""

    cell_id: str
    """Hash of the cell's settings; equal ids were asked the same."""
    model: str
    """The model, as the sweep names it."""
    precision: Precision
    """The kind of precision asked for."""
    batch_size: NonNegativeInt
    """Sequences per generation, over all ranks."""
    input_tokens: NonNegativeInt
    """Prompt tokens asked for per sequence. Unit: tokens."""
    output_tokens: NonNegativeInt
    """New tokens per sequence. Unit: tokens."""
    attention: Attention
    """Attention implementation asked for."""
    device_asked: Device
    """Device asked for."""
    processes: NonNegativeInt
    """Data-parallel ranks."""
    tensor_parallel: NonNegativeInt
    """GPUs one replica is split over."""
    accelerator_type: str | None = None
    """The card that the cell is pinned to; null: any."""
    settings: str
    """Every setting that differs from its default, as JSON."""


class SweepInfo(Record):
    """Which sweep a row belongs to, and the driver that ran it."""

    sweep: str
    """The sweep's name."""
    sweep_hash: str
    """Hash of the whole sweep file's meaning."""
    git_commit: str | None = None
    """Commit of the folder that the sweep file lies in, `-dirty` where it had changes; null outside a checkout."""
    ray_version: str
    """ray."""
    driver_host: str
    """Host of the driver."""
    started_unix_s: NonNegativeFloat
    """When this driver began. Unit: s since 1970."""


class Spread(Record):
    """A headline figure over the repeats."""

    mean: float | None = None
    """Geometric mean over the repeats, arithmetic where one is zero; null without one that has the figure."""
    std: NonNegativeFloat | None = None
    """Sample standard deviation over the repeats; null with fewer than two."""
    log_std: NonNegativeFloat | None = None
    """Sample standard deviation of the natural logarithms; null with fewer than two, or where one is zero. Unit: 1."""
    ci95_low: float | None = None
    """Lower end of the mean's 95 % confidence interval (Student t of the logarithms); null where `log_std` is."""
    ci95_high: float | None = None
    """Upper end of the mean's 95 % confidence interval (Student t of the logarithms); null where `log_std` is."""
    n: NonNegativeInt = 0
    """Repeats that have the figure."""
    values: tuple[float | None, ...] = ()
    """Of each repeat that is ok, in the order of `repeat_started_unix_s`; null where one lacks the figure."""


class Statistics(Record):
    """Every headline figure's spread; its mean is the figure itself."""

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
    """One row of `raw.parquet`: one process of one run, exactly as it reported, or one failed run."""

    cell: CellSettings
    status: Status
    """How the run ended."""
    error_type: str | None = None
    """The failure's class; null where there is none."""
    error_message: str | None = None
    """What it said; null where there is none."""
    error_traceback: str | None = None
    """Where it was raised: the traceback, without secrets; null where there is none."""
    error_log: str | None = None
    """Log of the run, relative to the results' folder; null where there is none."""
    attempt: NonNegativeInt = 1
    """Which try this row is, 1-based: tries that were repeated have rows of their own."""
    repeat: NonNegativeInt
    """0-based repeat of the cell."""
    result: RawProcessResult | None = None
    sweep: SweepInfo


class AggregatedResult(Record):
    """One row of `results.parquet`: a cell over its ranks and repeats, failed and skipped ones included.

    Counts, windows and energies are totals over the repeats that are ok. What each repeat has a value of (tokens/s, the
    mean of a latency, J/token, FLOP/s, peak memory) is the geometric mean of these values, not a ratio of totals:
    `output_tokens_per_s` is `output_tokens_per_s_over_repeats_mean`, and the interval beside it is around that number.
    Percentiles are of all requests of all repeats together. FLOPs are of one inference of the whole batch.
    """

    cell: CellSettings
    status: Status
    """`ok` where every repeat is; otherwise the worst of its runs' ends."""
    error_type: str | None = None
    """Class of the first failure; null where there is none."""
    error_message: str | None = None
    """What the first failure said; null where there is none."""
    error_log: str | None = None
    """Log of that run, relative to the results' folder; null where there is none."""
    repeats_asked: NonNegativeInt
    """Repeats that the sweep asks for."""
    repeats_ok: NonNegativeInt
    """Repeats that have figures."""
    repeat_started_unix_s: tuple[NonNegativeFloat, ...] = ()
    """When each repeat's window began, of those that are ok: repeats side by side share what disturbs them. Unit: s."""
    attempts: NonNegativeInt
    """Tries made over all repeats."""
    load_s: NonNegativeFloat | None = None
    """Longest load of the model over ranks and repeats. Unit: s."""
    attention_used: str | None = None
    """Attention implementation that ran; differs from the one asked for where a model lacks that."""
    prior_runs: NonNegativeInt | None = None
    """Most runs that a process had done before one of these."""
    compute_metrics: ComputeMetrics = ComputeMetrics()
    inference_metrics: InferenceMetrics | None = None
    energy_metrics: EnergyMetrics = EnergyMetrics()
    energy_per_output_token_j: NonNegativeFloat | None = None
    """GPU energy over generated tokens; null where a repeat is without energy. Unit: J/token."""
    energy_per_output_token_uncertainty_j: NonNegativeFloat | None = None
    """Half width of its 95 % interval from the meters, no part of the one over repeats. Unit: J/token."""
    efficiency_flops_per_watt: NonNegativeFloat | None = None
    """FLOP/s per watt of mean GPU power; null without energy or FLOPs. Unit: FLOP/s/W."""
    emissions_g: NonNegativeFloat | None = None
    """CO2 equivalent of the GPU energy; null where not asked for or without energy. Unit: g."""
    emissions_source: str | None = None
    """Intensity of the grid's electricity, with its source and date; null where not asked for."""
    precision_metadata: PrecisionMetadata | None = None
    normalised_metrics: NormalisedMetrics | None = None
    quality: QualityMetrics = QualityMetrics()
    statistics: Statistics = Statistics()
    environment: Environment | None = None
    mixed: tuple[str, ...] = ()
    """What differs between the runs of this row, or the ranks of one, and should not (cards, drivers...)."""
    sweep: SweepInfo
