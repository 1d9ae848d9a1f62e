"""Token counts and times of a window, from the raw times of its generations."""

from collections.abc import Sequence

from workers.engines import TokenTimes
from workers.records import Distribution, InferenceMetrics


def inference_metrics(
    generations: Sequence[TokenTimes],
    *,
    rows: int,
    output_tokens: int,
    prompt_tokens: int,
    window_s: float,
    time_uncertainty: float | None,
    timing_method: str,
    not_timed: str | None = None,
) -> InferenceMetrics:
    """The inference figures of a window.

    Args:
        generations: Times of each generation of the window, in order.
        rows: Sequences per generation.
        output_tokens: New tokens per sequence.
        prompt_tokens: Prompt tokens per generation, without padding.
        window_s: Length of the window. Unit: s.
        time_uncertainty: 95 % relative uncertainty of the mean time of a generation. Unit: 1.
        timing_method: The clock's name.
        not_timed: Why single tokens have no times; None if they have.
    """
    count = len(generations)
    per_token = {"latency_reason": not_timed} if not_timed else _per_token(generations, rows, prompt_tokens)
    generated = count * rows * output_tokens
    return InferenceMetrics(
        generations=count,
        requests=count * rows,
        prompt_tokens=count * prompt_tokens,
        generated_tokens=generated,
        window_s=window_s,
        output_tokens_per_s=generated / window_s,
        e2e=Distribution.of([times.e2e_s for times in generations], rows),
        e2e_s=tuple(times.e2e_s for times in generations),
        time_uncertainty=time_uncertainty,
        timing_method=timing_method,
        **per_token,
    )


def _per_token(generations: Sequence[TokenTimes], rows: int, prompt_tokens: int) -> dict[str, object]:
    """The figures that need a time for every token; with one token, those about later tokens are missing."""
    ttft_s = tuple(times.ttft_s for times in generations)
    itl_s = tuple(times.itl_s for times in generations)
    gaps = [gap for generation in itl_s for gap in generation]
    figures: dict[str, object] = {
        "ttft_s": ttft_s,
        "itl_s": itl_s,
        "ttft": Distribution.of(ttft_s, rows),
        "prefill_tokens_per_s": len(generations) * prompt_tokens / sum(ttft_s),
    }
    if gaps:
        tpot = [(times.e2e_s - times.ttft_s) / len(times.itl_s) for times in generations]
        figures["itl"] = Distribution.of(gaps, rows)
        figures["tpot"] = Distribution.of(tpot, rows)
        figures["decode_tokens_per_s"] = len(gaps) * rows / sum(gaps)
    return figures
