"""Tokens and times of generation."""

from pydantic import NonNegativeFloat, NonNegativeInt

from workers.records._base import Record


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


class WarmupDone(Record):
    """What was really done before the window."""

    generations: NonNegativeInt
    """Unmeasured generations made."""
    duration_s: NonNegativeFloat
    """Time they took together. Unit: s."""
    cv: NonNegativeFloat | None = None
    """Coefficient of variation of the last ones' times; null with fewer than two. Unit: 1."""
    converged: bool | None = None
    """Whether they settled under the asked bound; null where a fixed count was asked for."""


class InferenceMetrics(Record):
    """What one process generated in its window, and how fast."""

    generations: NonNegativeFloat
    """Inferences of the whole batch in the window: calls of `generate`, over several ranks their mean. Unit: 1."""
    requests: NonNegativeInt
    """Sequences generated in the window: `generations` x the sequences of one."""
    prompt_tokens: NonNegativeInt
    """Prompt tokens of all requests, padding not counted. Unit: tokens."""
    generated_tokens: NonNegativeInt
    """New tokens of all requests. Unit: tokens."""
    window_s: NonNegativeFloat
    """Time of the window, device synchronised at both ends. Unit: s."""
    output_tokens_per_s: NonNegativeFloat
    """Generated tokens over the window. Unit: tokens/s."""
    prefill_tokens_per_s: NonNegativeFloat | None = None
    """Prompt tokens over the time to first token. Unit: tokens/s."""
    decode_tokens_per_s: NonNegativeFloat | None = None
    """Tokens after the first over the time after it; null with one output token. Unit: tokens/s."""
    ttft: Distribution | None = None
    """Time to first token: from the call of `generate` until the first token is there."""
    itl: Distribution | None = None
    """Inter-token latency: between one token and the next, over all steps; null with one output token."""
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
    """Why there are no times per token, where the way of generating does not settle one token per step."""
    time_uncertainty: NonNegativeFloat | None = None
    """95 % relative uncertainty of the mean time of a generation; null with one generation. Unit: 1."""
    timing_method: str = "perf_counter"
    """The clock: CUDA events on a GPU, `perf_counter` on a CPU."""
