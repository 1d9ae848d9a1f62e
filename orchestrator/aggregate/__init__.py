"""Outcomes -> rows. Pure functions; each rule is explained where it is applied.

ranks    tokens and FLOPs add up, energy adds up over distinct GPUs, time is the union, memory the maximum per GPU
repeats  counts, times and joules add up; figures that each repeat has (rates, mean latencies, J/token, peak memory) are
         geometric means, with their confidence intervals in the `_over_repeats_` columns
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.aggregate.compute import compute, peak_memory_mb, tokens_per_inference
from orchestrator.aggregate.emissions import grams_co2e
from orchestrator.aggregate.energy import energy
from orchestrator.aggregate.energy_ranks import union
from orchestrator.aggregate.inference import Repeat, combine_ranks, inference
from orchestrator.aggregate.spread import spread
from orchestrator.aggregate.windows import wall_clocks_agree
from orchestrator.config import Emissions
from orchestrator.results.rows import AggregatedResult, CellSettings, RawRow, Spread, Statistics, SweepInfo
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
    """The row of `results.parquet` of one cell.

    Args:
        cell: The cell.
        outcomes: The outcomes of its repeats.
        sweep: The sweep that the row belongs to.
        repeats_asked: Requested repeats.
        reference_perplexity: The perplexity of the same model at the sweep's reference precision; null if unknown.
        emissions: The carbon intensity of the electricity; null if the sweep gives none.
    """
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    failures.sort(key=_not_attempted)  # a repeat that was not attempted repeats the reason of another one
    good = [outcome.results for outcome in outcomes if not outcome.failure]
    row = AggregatedResult(
        cell=settings(cell),
        status=failures[0].status if failures else "ok",
        error_type=failures[0].error_type if failures else None,
        error_message=failures[0].error_message if failures else None,
        error_log=failures[0].log if failures else None,
        repeats_asked=repeats_asked,
        repeats_ok=len(good),
        attempts=sum(len(outcome.earlier_failures) + (not _not_attempted(outcome.failure)) for outcome in outcomes),
        sweep=sweep,
    )
    if not good:
        return row
    return row.model_copy(update=_figures(cell, good, reference_perplexity, emissions))


def _figures(
    cell: Cell, good: Sequence[Repeat], reference_perplexity: float | None, emissions: Emissions | None
) -> dict[str, object]:
    # The ranks of a tensor-parallel group share one replica, whose tokens and FLOPs are those of its first rank.
    leaders = [repeat[:: cell.tensor_parallel] for repeat in good]
    all_ranks = [rank for repeat in good for rank in repeat]
    energies = [union(repeat) for repeat in good]
    runs = [combine_ranks(repeat) for repeat in leaders]
    tokens = inference(leaders, runs)
    joules = energy(energies)
    flops = compute(leaders, every_rank=good, inference=tokens)
    statistics = _statistics(runs, good, energies)
    precision = _precision(all_ranks[0], reference_perplexity)
    joules_per_token = statistics.energy_per_output_token_j_over_repeats.mean
    power_w = _complete(_ratio(each.gpu_energy_j, each.duration_s) for each in energies).mean
    return {
        "repeat_started_unix_s": tuple(repeat[0].window_start_unix_s for repeat in good),
        "load_s": max(rank.load_s for rank in all_ranks),
        "attention_used": all_ranks[0].attention_used,
        "prior_runs": max(rank.prior_runs for rank in all_ranks),
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
        "quality": all_ranks[0].quality,
        "statistics": statistics,
        "environment": all_ranks[0].environment,
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
    """The spread of a figure that needs all repeats: if one lacks it, the others are in doubt too."""
    figures = tuple(values)
    if None in figures:
        return Spread(n=len(figures) - figures.count(None), values=figures)
    return spread(figures)


def raw_rows(cell: Cell, outcomes: Iterable[Outcome], sweep: SweepInfo) -> list[RawRow]:
    """The rows of `raw.parquet`: one per rank and repeat, and one per failed attempt."""
    rows = []
    for outcome in outcomes:
        common = {"cell": settings(cell), "repeat": outcome.run.repeat, "sweep": sweep}
        last = len(outcome.earlier_failures) + (not _not_attempted(outcome.failure))
        rows += [RawRow(status="ok", attempt=last, result=result, **common) for result in outcome.results]
        failures = (*outcome.earlier_failures, *([outcome.failure] if outcome.failure else []))
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
            for failure in failures
        ]
    return rows


def reference_perplexities(outcomes: Iterable[Outcome]) -> Mapping[str, float]:
    """`model_key` of the cells -> perplexity, from the runs at the sweep's reference precision."""
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
    """What differs between the runs of a cell but should not; wall clocks are compared within each run."""
    all_ranks = [rank for repeat in good for rank in repeat]
    values: dict[str, Callable[[RawProcessResult], object]] = {
        "gpu_names": lambda r: sorted(set(r.environment.gpu_names)),
        "driver_version": lambda r: r.environment.driver_version,
        "torch_version": lambda r: r.environment.torch_version,
        "energy_method": lambda r: r.energy_metrics.energy_method,
        "flops_method": lambda r: r.compute_metrics.flops and r.compute_metrics.flops.method,
    }
    mixed = tuple(name for name, value in values.items() if len({str(value(rank)) for rank in all_ranks}) > 1)
    return mixed if all(map(wall_clocks_agree, good)) else (*mixed, "wall_clocks")


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _scaled(figure: float | None, share: float | None) -> float | None:
    return None if figure is None or share is None else figure * share


def _not_attempted(failure: ProcessFailure | None) -> bool:
    return failure is not None and failure.attempt == 0
