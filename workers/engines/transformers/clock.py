"""The time of each token: a clock that `generate` calls after every token.

It is passed to `generate` as a stopping criterion that never stops, because that is the only hook that transformers
calls once per new token, after the token is chosen. On a GPU the marks are CUDA events: recording one takes the host a
microsecond, without waiting for the device. They are read after the generation, when the device has passed them.
"""

from time import perf_counter  # by name: a model's own code may replace it in its module
from typing import Any, Protocol

import torch

from workers.engines import TokenTimes


class TokenClock(Protocol):
    """`start()`, then one call per token, then `stop()`. `start()` resets it, so generations do not accumulate."""

    method: str
    """The clock's name, for `InferenceMetrics.timing_method`."""

    def start(self) -> None:
        """Reset the clock and start a generation."""

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Record the time of a token; returns False for each sequence: never stop."""

    def stop(self) -> TokenTimes:
        """End the generation and read its times."""


class HostClock:
    """`time.perf_counter`, for models on the CPU, where a token is complete when the clock is called."""

    method = "perf_counter"

    def __init__(self, rows: int) -> None:
        self._go_on = torch.zeros(rows, dtype=torch.bool)
        self._marks: list[float] = []

    def start(self) -> None:
        """Reset the clock and start a generation."""
        self._marks = []
        self._start = perf_counter()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Record the time of a token."""
        self._marks.append(perf_counter())
        return self._go_on

    def stop(self) -> TokenTimes:
        """End the generation and read its times."""
        end = perf_counter()
        return TokenTimes(e2e_s=end - self._start, token_s=tuple(mark - self._start for mark in self._marks))


class CudaClock:
    """CUDA events on the current stream, reused for each generation."""

    method = "cuda_events"

    def __init__(self, rows: int, device: Any) -> None:
        self._go_on = torch.zeros(rows, dtype=torch.bool, device=device)
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._events: list[Any] = []
        self._count = 0

    def start(self) -> None:
        """Reset the clock and start a generation."""
        self._count = 0
        self._start.record()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Record the time of a token."""
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
