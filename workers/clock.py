"""When each token was there: a stopwatch that `generate` calls after every token, and nothing else.

It is handed to `generate` as a stopping criterion that never stops, because that is the one place that transformers
calls once per new token, after the token is chosen. On a GPU the marks are CUDA events: recording one costs the host a
microsecond and makes it wait for nothing. They are read after the generation, when the device has passed them.
"""

from dataclasses import dataclass
from time import perf_counter  # by name: a model's own code may replace it in its module
from typing import Any, Protocol

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTimes:
    """One generation's times, from the call of `generate`."""

    e2e_s: float
    """Until `generate` returned. Unit: s."""
    token_s: tuple[float, ...]
    """Until each new token was there, in order. Unit: s."""

    @property
    def ttft_s(self) -> float:
        """Time to the first token. Unit: s."""
        return self.token_s[0]

    @property
    def itl_s(self) -> tuple[float, ...]:
        """Inter-token latencies: one fewer than tokens. Unit: s."""
        return tuple(later - earlier for earlier, later in zip(self.token_s, self.token_s[1:], strict=False))


class TokenClock(Protocol):
    """`start()`, then one call per token, then `stop()`. It starts anew each time, so generations do not accumulate."""

    method: str
    """What the times are read from, as `InferenceMetrics.timing_method` states it."""

    def start(self) -> None:
        """Forget the last generation and begin."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Mark a token; returns one False per sequence: never stop."""

    def stop(self) -> TokenTimes:
        """End the generation and read its times."""


class HostClock:
    """`time.perf_counter`, for models on the CPU, where a token is there when the call comes."""

    method = "perf_counter"

    def __init__(self, rows: int) -> None:
        self._go_on = torch.zeros(rows, dtype=torch.bool)
        self._marks: list[float] = []

    def start(self) -> None:
        """Forget the last generation and begin."""
        self._marks = []
        self._start = perf_counter()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Mark a token."""
        self._marks.append(perf_counter())
        return self._go_on

    def stop(self) -> TokenTimes:
        """End the generation and read its times."""
        end = perf_counter()
        return TokenTimes(e2e_s=end - self._start, token_s=tuple(mark - self._start for mark in self._marks))


class CudaClock:
    """CUDA events on the current stream, kept and recorded anew for each generation."""

    method = "cuda_events"

    def __init__(self, rows: int, device: Any) -> None:
        self._go_on = torch.zeros(rows, dtype=torch.bool, device=device)
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._events: list[Any] = []
        self._count = 0

    def start(self) -> None:
        """Forget the last generation and begin."""
        self._count = 0
        self._start.record()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Mark a token."""
        if self._count == len(self._events):
            self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[self._count].record()
        self._count += 1
        return self._go_on

    def stop(self) -> TokenTimes:
        """End the generation and read its times; waits for the device, which `generate` has just done too."""
        self._end.record()
        self._end.synchronize()
        marks = self._events[: self._count]
        return TokenTimes(
            e2e_s=self._start.elapsed_time(self._end) / 1e3,
            token_s=tuple(self._start.elapsed_time(mark) / 1e3 for mark in marks),
        )


def token_clock(rows: int, device: Any) -> TokenClock:
    """The clock for a model on `device` that generates `rows` sequences at once."""
    return CudaClock(rows, device) if torch.device(device).type == "cuda" else HostClock(rows)
