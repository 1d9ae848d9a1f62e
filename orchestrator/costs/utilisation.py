"""FLOP/s, FLOPs per token, and the utilisation of the cards: a cost over a measured time."""

from collections.abc import Callable

from pydantic import NonNegativeFloat

from orchestrator.costs import cards
from workers.records import ComputeMetrics, Dtype, InferenceCost, RawProcessResult, Record


def with_cost(
    result: RawProcessResult, cost: InferenceCost | None, reason: str | None, *, split: int
) -> RawProcessResult:
    """The rank's result with its FLOPs, FLOPs per token, FLOP/s, MFU and MBU.

    Args:
        result: the result of one rank.
        cost: the cost of one generation of this rank; null with `reason`.
        reason: why there is no `cost`.
        split: ranks that share the work of `cost` because they split one model; each has the same GPUs as this rank.
    """
    measured = result.compute_metrics
    if cost is None:
        update: dict[str, object] = {"flops_reason": reason or "no FLOPs were counted for this cell"}
    else:
        rates = _rates(result, cost)
        update = {
            "flops": cost.flops,
            "estimates": cost.estimates,
            "parameters": cost.parameters,
            "active_parameters": cost.active_parameters,
            **rates,
            **_utilisations(result, cost, rates["flops_per_second"], split),
        }
    compute = ComputeMetrics.model_validate(dict(measured) | update)
    return result.model_copy(update={"compute_metrics": compute})


def _rates(result: RawProcessResult, cost: InferenceCost) -> dict[str, float]:
    inference = result.inference_metrics
    flops = cost.flops.value * inference.generations
    return {
        "flops_per_token": flops / inference.generated_tokens,
        "flops_per_second": flops / inference.window_s,
    }


def _utilisations(
    result: RawProcessResult, cost: InferenceCost, flops_per_second: float, split: int
) -> dict[str, object]:
    """MFU and MBU, with the source of the peaks or why there are none."""
    used = result.environment.gpu_names * split
    reads = (cost.decode_weight_read_mb, cost.decode_cache_read_mb)
    itl = result.inference_metrics.itl
    model_flops = mfu(
        flops_per_second=flops_per_second,
        compute=result.precision_metadata.compute,
        used=used,
    )
    bandwidth = mbu(
        read_bytes_per_pass=None if None in reads else sum(mb for mb in reads if mb is not None) * 1e6,
        seconds_per_pass=itl.mean_s if itl else None,
        used=used,
    )
    return {
        "mfu": model_flops.value,
        "mbu": bandwidth.value,
        "peak_source": "; ".join(dict.fromkeys((model_flops.source, bandwidth.source))),
    }


class Utilisation(Record):
    """A utilisation, or the reason for its absence."""

    value: NonNegativeFloat | None
    """Unit: 1."""
    source: str
    """The document with the peak; if `value` is null, the reason."""


def mfu(*, flops_per_second: float | None, compute: Dtype, used: tuple[str, ...]) -> Utilisation:
    """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B): FLOP/s over the cards' peak at the compute type.

    Args:
        flops_per_second: of all cards together; None if there are no FLOPs.
        compute: the type of the matrix products.
        used: NVML name of each card that computed.
    """
    if flops_per_second is None:
        return Utilisation(value=None, source="no FLOPs")
    return _over(flops_per_second, used, lambda card: card.peak_flops.get(compute), f"{compute} peak")


def mbu(*, read_bytes_per_pass: float | None, seconds_per_pass: float | None, used: tuple[str, ...]) -> Utilisation:
    """Model bandwidth utilisation of decoding (Databricks, "LLM Inference Performance Engineering", 2023).

    Args:
        read_bytes_per_pass: weights and cache that a decode pass must read: the sum of `decode_weight_read_mb` and
            `decode_cache_read_mb` of an `InferenceCost`, in bytes.
        seconds_per_pass: mean time of a decode pass (mean ITL).
        used: NVML name of each card that computed.
    """
    if read_bytes_per_pass is None:
        return Utilisation(value=None, source="the bytes that a decode pass reads are unknown")
    if not seconds_per_pass:
        return Utilisation(value=None, source="no decode passes")
    return _over(read_bytes_per_pass / seconds_per_pass, used, lambda card: card.bandwidth, "bandwidth")


def _over(rate: float, names: tuple[str, ...], figure: Callable[[cards.Card], float | None], what: str) -> Utilisation:
    if not names:
        return Utilisation(value=None, source="no GPU was used")
    total, sources = 0.0, []
    for name in names:
        card = cards.named(name)
        peak = figure(card) if card else None
        if card is None or not peak:
            return Utilisation(value=None, source=f"no datasheet {what} for {name!r}")
        total += peak
        sources.append(card.source)
    return Utilisation(value=rate / total, source="; ".join(dict.fromkeys(sources)))
