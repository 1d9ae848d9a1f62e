"""Progress of a sweep: one live line on a terminal, plain lines in a log."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from orchestrator.aggregate.windows import covered_s
from orchestrator.results import labels
from workers.records import Outcome
from workers.records.text import one_line

_MIN_INTERVAL_S = 1.0
"""Shortest time between two lines of a log; failures are always printed. Unit: s."""


class Progress:
    """Counts and prints outcomes.

    Args:
        total: Number of runs of the sweep.
        done: Number of runs that were finished before.
        console: Where to print.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self._total, self._resumed, self._console = total, done, console
        self._counts: Counter[str] = Counter()
        self._attempted = 0
        self._last_reason: tuple[str, ...] | None = None
        """Why the last run was not attempted; null if it was."""
        self._repeated = 0
        self._began = time.monotonic()
        self._last_line = float("-inf")
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Start the live line."""
        if self._resumed:
            self._console.print(f"{self._resumed} of {self._total} runs are done already")
        if self._live:
            self._live.start()
            self._live.update(Text(self._summary()))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Remove the live line."""
        self._print_repeated()
        if self._live:
            self._live.stop()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and print it if it is due."""
        repeated = self._has_last_reason(outcome)
        if not repeated:
            self._print_repeated()
        self._counts[outcome.status] += 1
        if repeated:
            self._repeated += 1
            return
        self._attempted += self._last_reason is None
        due = outcome.failure or time.monotonic() - self._last_line >= _MIN_INTERVAL_S
        if not (self._live or due):
            return
        line = _describe(outcome)
        if self._live:
            if outcome.failure:
                self._print(line)
            self._live.update(Text(f"{self._summary()} · last: {line}"))
        else:
            self._last_line = time.monotonic()
            self._print(f"{line} ({self._time_left()})")

    def _has_last_reason(self, outcome: Outcome) -> bool:
        """Whether the run was not attempted, for the same reason as the one before: one line is printed for all."""
        before, failure = self._last_reason, outcome.failure
        self._last_reason = None
        if failure is not None and failure.attempt == 0:
            self._last_reason = (failure.status, failure.error_type, failure.error_message)
        return self._last_reason is not None and self._last_reason == before

    def _print_repeated(self) -> None:
        if self._repeated:
            self._print(f"{self._repeated} more runs were not attempted, for the same reason")
        self._repeated = 0

    def _print(self, text: str) -> None:
        line = f"[{self._finished}/{self._total}] {text}"
        if self._live:
            self._console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    @property
    def _finished(self) -> int:
        return self._resumed + sum(self._counts.values())

    def _summary(self) -> str:
        failed = sum(count for status, count in self._counts.items() if status not in ("ok", "skipped"))
        skipped = f", {self._counts['skipped']} skipped" if self._counts["skipped"] else ""
        left = self._total - self._finished
        return f"{self._finished} done ({failed} failed{skipped}), {left} left, {self._time_left()}"

    def _time_left(self) -> str:
        left = self._total - self._finished
        if not left or not self._attempted:
            return "done" if not left else "time left unknown"
        seconds = (time.monotonic() - self._began) / self._attempted * left
        return f"about {_duration(seconds)} left"


def _describe(outcome: Outcome) -> str:
    cell = outcome.run.cell
    tokens = f"{cell.input_tokens}+{cell.output_tokens} tokens"
    shape = f"{one_line(cell.model.name)} {cell.precision} batch {cell.batch_size}, {tokens}"
    others = labels.format_settings(labels.select_other_settings(cell.model_dump(mode="json", exclude_defaults=True)))
    run = f"{shape}{f', {others}' if others else ''}, repeat {outcome.run.repeat}: "
    if outcome.failure:
        log = f"; log: {outcome.failure.log}" if outcome.failure.log else ""
        return f"{run}{outcome.failure.status}, {outcome.failure.error_type}: {outcome.failure.error_message}{log}"
    leaders = outcome.results[:: cell.tensor_parallel]
    generated = sum(leader.inference_metrics.generated_tokens for leader in leaders)
    return f"{run}{generated / covered_s(leaders):,.1f} tokens/s"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
