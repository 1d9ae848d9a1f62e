"""Token counts and times of generation."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from pydantic import NonNegativeFloat, NonNegativeInt

from workers.records.base import Record


class Distribution(Record):
    """Mean and percentiles over all requests of the window."""

    mean_s: NonNegativeFloat
    """Mean. Unit: s."""
    p50_s: NonNegativeFloat
    """Median. Unit: s."""
    p90_s: NonNegativeFloat
    """90th percentile. Unit: s."""
    p99_s: NonNegativeFloat
    """99th percentile. Unit: s."""

    @classmethod
    def of(cls, values_s: Sequence[float], rows: int | Sequence[int]) -> "Distribution":
        """The distribution over requests: each value counts once for each of the `rows` sequences that share it.

        Percentiles interpolate linearly between the two nearest ranks, as NumPy's do.

        Args:
            values_s: One time per generation (or step); not empty. Unit: s.
            rows: Sequences that share each value: one number for all values, or one per value.
        """
        counts = [rows] * len(values_s) if isinstance(rows, int) else rows
        pairs = sorted(zip(values_s, counts, strict=True))
        ends = list(accumulate(count for _, count in pairs))
        ordered = [value for value, _ in pairs]

        def percentile(share: float) -> float:
            place = share * (ends[-1] - 1)
            low = math.floor(place)
            below, above = (ordered[bisect_right(ends, rank)] for rank in (low, min(low + 1, ends[-1] - 1)))
            return below + (above - below) * (place - low)

        mean_s = math.fsum(value * count for value, count in pairs) / ends[-1]
        return cls(mean_s=mean_s, p50_s=percentile(0.5), p90_s=percentile(0.9), p99_s=percentile(0.99))


class WarmupDone(Record):
    """The warm-up as it happened."""

    generations: NonNegativeInt
    """Number of unmeasured generations."""
    duration_s: NonNegativeFloat
    """Total time of these generations. Unit: s."""
    cv: NonNegativeFloat | None = None
    """Coefficient of variation of the last generations' times; null with fewer than two. Unit: 1."""
    converged: bool | None = None
    """Whether it fell below the requested `cv`; null if a fixed number of generations was requested."""


class InferenceMetrics(Record):
    """What one process generated in its window, and how fast."""

    generations: NonNegativeFloat
    """Inferences of the whole batch in the window: calls of `generate`; with several ranks, their mean. Unit: 1."""
    requests: NonNegativeInt
    """Sequences generated in the window: `generations` x sequences per generation."""
    prompt_tokens: NonNegativeInt
    """Prompt tokens of all requests, without padding. Unit: tokens."""
    generated_tokens: NonNegativeInt
    """New tokens of all requests. Unit: tokens."""
    window_s: NonNegativeFloat
    """Length of the window; the device is synchronised at both ends. Unit: s."""
    output_tokens_per_s: NonNegativeFloat
    """Generated tokens over the window. Unit: tokens/s."""
    prefill_tokens_per_s: NonNegativeFloat | None = None
    """Prompt tokens over the time to first token. Unit: tokens/s."""
    decode_tokens_per_s: NonNegativeFloat | None = None
    """Tokens after the first over the time after it; null with one output token. Unit: tokens/s."""
    ttft: Distribution | None = None
    """Time to first token, from the call of `generate`."""
    itl: Distribution | None = None
    """Inter-token latency: time between one token and the next, over all steps; null with one output token."""
    tpot: Distribution | None = None
    """Time per output token: (end-to-end - TTFT) / (output tokens - 1) of each request; null with one output token."""
    e2e: Distribution | None = None
    """End-to-end latency of a request."""
    ttft_s: tuple[NonNegativeFloat, ...] = ()
    """Raw TTFT of each generation; its requests share it. Unit: s."""
    itl_s: tuple[tuple[NonNegativeFloat, ...], ...] = ()
    """Raw ITL: per generation, output tokens - 1 values. Unit: s."""
    e2e_s: tuple[NonNegativeFloat, ...] = ()
    """Raw end-to-end time of each generation; its requests share it. Unit: s."""
    latency_reason: str | None = None
    """Why times per token are missing: the generation strategy does not emit one token per step."""
    time_uncertainty: NonNegativeFloat | None = None
    """95 % relative uncertainty of the mean time of a generation; null with one generation. Unit: 1."""
    timing_method: str = "perf_counter"
    """The clock: CUDA events on a GPU, `perf_counter` on a CPU."""
