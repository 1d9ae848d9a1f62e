"""Outcomes -> rows. Aggregation is physics, and each rule says why beside it. Pure.

ranks    tokens and FLOPs add up, energy adds up over distinct GPUs, time is the union, memory the maximum per GPU
repeats  counts, times and joules add up; what has a value of its own in each repeat (rates, mean latencies, J/token,
         peak memory) is the geometric mean of these, with the interval around it in the `_over_repeats_` columns
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.aggregate.compute import compute, peak_memory_mb, tokens_per_inference
from orchestrator.aggregate.energy import energy
from orchestrator.aggregate.inference import Repeat, inference, of_one_run
from orchestrator.config import Emissions
from orchestrator.emissions import grams_co2e
from orchestrator.energy_union import union
from orchestrator.results import AggregatedResult, CellSettings, RawRow, Spread, Statistics, SweepInfo
from orchestrator.statistics import spread
from orchestrator.windows import wall_clocks_agree
from workers.records import (
    Cell,
    EnergyMetrics,
    InferenceMetrics,
    NormalisedMetrics,
    Outcome,
    PrecisionMetadata,
    ProcessFailure,
    RawProcessResult,
)

__all__ = ["aggregate", "raw_rows", "reference_perplexities"]


def aggregate(
    cell: Cell,
    outcomes: Sequence[Outcome],
    sweep: SweepInfo,
    *,
    repeats_asked: int,
    reference_perplexity: float | None = None,
    emissions: Emissions | None = None,
) -> AggregatedResult:
    """One cell's outcomes as its row of `results.parquet`.

    Args:
        cell: What was measured.
        outcomes: What came of its repeats.
        sweep: The sweep that the row belongs to.
        repeats_asked: Repeats that the sweep asks for.
        reference_perplexity: The same model's at the sweep's reference precision; null where unknown.
        emissions: The electricity's carbon intensity, where the sweep gives one.
    """
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    failures.sort(key=_untried)  # a repeat that was not tried only repeats what another came to
    good = [outcome.results for outcome in outcomes if not outcome.failure]
    row = AggregatedResult(
        cell=settings(cell),
        status=failures[0].status if failures else "ok",
        error_type=failures[0].error_type if failures else None,
        error_message=failures[0].error_message if failures else None,
        error_log=failures[0].log if failures else None,
        repeats_asked=repeats_asked,
        repeats_ok=len(good),
        attempts=sum(len(outcome.earlier_failures) + (not _untried(outcome.failure)) for outcome in outcomes),
        sweep=sweep,
    )
    if not good:
        return row
    return row.model_copy(update=_figures(cell, good, reference_perplexity, emissions))


def _figures(
    cell: Cell, good: Sequence[Repeat], reference_perplexity: float | None, emissions: Emissions | None
) -> dict[str, object]:
    # The ranks of a tensor-parallel group share one replica: its tokens and FLOPs are those of its first rank.
    leaders = [repeat[:: cell.tensor_parallel] for repeat in good]
    every = [rank for repeat in good for rank in repeat]
    energies = [union(repeat) for repeat in good]
    runs = [of_one_run(repeat) for repeat in leaders]
    tokens = inference(leaders, runs)
    joules = energy(energies)
    flops = compute(leaders, every_rank=good, inference=tokens)
    statistics = _statistics(runs, good, energies)
    precision = _precision(every[0], reference_perplexity)
    joules_per_token = statistics.energy_per_output_token_j_over_repeats.mean
    power_w = _complete(_ratio(one.gpu_energy_j, one.duration_s) for one in energies).mean
    return {
        "repeat_started_unix_s": tuple(repeat[0].window_start_unix_s for repeat in good),
        "load_s": max(rank.load_s for rank in every),
        "attention_used": every[0].attention_used,
        "prior_runs": max(rank.prior_runs for rank in every),
        "compute_metrics": flops,
        "inference_metrics": tokens,
        "energy_metrics": joules,
        "energy_per_output_token_j": joules_per_token,
        "energy_per_output_token_uncertainty_j": _scaled(
            joules_per_token, _ratio(joules.gpu_energy_uncertainty_j, joules.gpu_energy_j)
        ),
        "efficiency_flops_per_watt": _ratio(flops.flops_per_second, power_w),
        **_emissions(joules.gpu_energy_j, emissions),
        "precision_metadata": precision,
        "normalised_metrics": NormalisedMetrics.from_metrics(
            precision=precision,
            flops=flops.flops.value if flops.flops else None,
            output_tokens=tokens_per_inference(leaders[0]),
            tokens_per_second=tokens.output_tokens_per_s,
            joules_per_token=joules_per_token,
            mean_power_w=power_w,
        ),
        "quality": every[0].quality,
        "statistics": statistics,
        "environment": every[0].environment,
        "mixed": _mixed(good),
    }


def _statistics(
    runs: Sequence[InferenceMetrics], good: Sequence[Repeat], energies: Sequence[EnergyMetrics]
) -> Statistics:
    return Statistics(
        output_tokens_per_s_over_repeats=spread(run.output_tokens_per_s for run in runs),
        ttft_s_over_repeats=spread(run.ttft.mean_s if run.ttft else None for run in runs),
        tpot_s_over_repeats=spread(run.tpot.mean_s if run.tpot else None for run in runs),
        e2e_s_over_repeats=spread(run.e2e.mean_s if run.e2e else None for run in runs),
        energy_per_output_token_j_over_repeats=_complete(
            _ratio(joules.gpu_energy_j, run.generated_tokens) for joules, run in zip(energies, runs, strict=True)
        ),
        peak_memory_mb_over_repeats=_complete(map(peak_memory_mb, good)),
    )


def _complete(values: Iterable[float | None]) -> Spread:
    """The spread of a figure that a cell has only if all its repeats have it: one without is a doubt about the rest."""
    every = tuple(values)
    return spread(every) if None not in every else Spread(n=len(every) - every.count(None), values=every)


def raw_rows(cell: Cell, outcomes: Iterable[Outcome], sweep: SweepInfo) -> list[RawRow]:
    """A row per rank and repeat, and one per failed try."""
    rows = []
    for outcome in outcomes:
        common = {"cell": settings(cell), "repeat": outcome.run.repeat, "sweep": sweep}
        last = len(outcome.earlier_failures) + (not _untried(outcome.failure))
        rows += [RawRow(status="ok", attempt=last, result=result, **common) for result in outcome.results]
        tries = (*outcome.earlier_failures, *([outcome.failure] if outcome.failure else []))
        rows += [
            RawRow(
                status=failure.status,
                error_type=failure.error_type,
                error_message=failure.error_message,
                error_traceback=failure.traceback,
                error_log=failure.log,
                attempt=failure.attempt,
                **common,
            )
            for failure in tries
        ]
    return rows


def reference_perplexities(outcomes: Iterable[Outcome]) -> Mapping[str, float]:
    """`model_key` of cells -> perplexity, from the runs at the sweep's reference precision."""
    return {
        outcome.run.cell.model_key: result.quality.perplexity
        for outcome in outcomes
        for result in outcome.results[:1]
        if result.quality.perplexity is not None
    }


def settings(cell: Cell) -> CellSettings:
    """The cell's settings as columns."""
    return CellSettings(
        cell_id=cell.cell_id,
        model=cell.model.name,
        precision=cell.precision,
        batch_size=cell.batch_size,
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        attention=cell.attention,
        device_asked=cell.device,
        processes=cell.processes,
        tensor_parallel=cell.tensor_parallel,
        accelerator_type=cell.accelerator_type,
        settings=cell.model_dump_json(exclude_defaults=True),
    )


def _precision(result: RawProcessResult, reference: float | None) -> PrecisionMetadata:
    perplexity = result.quality.perplexity
    if reference is None or perplexity is None:
        return result.precision_metadata
    return result.precision_metadata.model_copy(update={"perplexity_degradation": perplexity / reference - 1})


def _emissions(gpu_energy_j: float | None, intensity: Emissions | None) -> dict[str, object]:
    if intensity is None:
        return {}
    source = f"{intensity.grams_per_kwh:g} g CO2e/kWh, {intensity.source}, {intensity.date}"
    grams = None if gpu_energy_j is None else grams_co2e(gpu_energy_j, grams_per_kwh=intensity.grams_per_kwh)
    return {"emissions_g": grams, "emissions_source": source}


def _mixed(good: Sequence[Repeat]) -> tuple[str, ...]:
    """What should be the same in all runs of a cell, and is not; of the wall clocks, among the ranks of each run."""
    every = [rank for repeat in good for rank in repeat]
    looks: dict[str, Callable[[RawProcessResult], object]] = {
        "gpu_names": lambda r: sorted(set(r.environment.gpu_names)),
        "driver_version": lambda r: r.environment.driver_version,
        "torch_version": lambda r: r.environment.torch_version,
        "energy_method": lambda r: r.energy_metrics.energy_method,
        "flops_method": lambda r: r.compute_metrics.flops and r.compute_metrics.flops.method,
    }
    found = tuple(name for name, look in looks.items() if len({str(look(result)) for result in every}) > 1)
    return found if all(map(wall_clocks_agree, good)) else (*found, "wall_clocks")


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _scaled(figure: float | None, share: float | None) -> float | None:
    return None if figure is None or share is None else figure * share


def _untried(failure: ProcessFailure | None) -> bool:
    return failure is not None and failure.attempt == 0
