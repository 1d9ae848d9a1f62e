"""What people see while a sweep runs: one live line on a terminal, plain lines in a log."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from orchestrator import labels
from orchestrator.windows import covered_s
from workers.records import Outcome
from workers.records.text import one_line

_BETWEEN_LINES_S = 1.0
"""A log gets no more than a line this often, but every failure."""


class Progress:
    """Counts outcomes and says so.

    Args:
        total: Runs of the sweep.
        done: Runs that were there already.
        console: Where to write.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self._total, self._resumed, self._console = total, done, console
        self._counts: Counter[str] = Counter()
        self._tried = 0
        self._alike: tuple[str, ...] | None = None
        """How the last run ended, where nothing was tried."""
        self._more_alike = 0
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
        """Take the live line away."""
        self._say_how_many_alike()
        if self._live:
            self._live.stop()

    def saw(self, outcome: Outcome) -> None:
        """Take one outcome in."""
        alike = self._is_like_the_last(outcome)
        if not alike:
            self._say_how_many_alike()
        self._counts[outcome.status] += 1
        if alike:
            self._more_alike += 1
            return
        self._tried += self._alike is None
        due = outcome.failure or time.monotonic() - self._last_line >= _BETWEEN_LINES_S
        if not (self._live or due):
            return
        what = _describe(outcome)
        if self._live:
            if outcome.failure:
                self._say(what)
            self._live.update(Text(f"{self._summary()} · last: {what}"))
        else:
            self._last_line = time.monotonic()
            self._say(f"{what} ({self._time_left()})")

    def _is_like_the_last(self, outcome: Outcome) -> bool:
        """Whether the run was not tried, for the same reason as the one before it: one line is enough for them all."""
        before, failure = self._alike, outcome.failure
        self._alike = None
        if failure is not None and failure.attempt == 0:
            self._alike = (failure.status, failure.error_type, failure.error_message)
        return self._alike is not None and self._alike == before

    def _say_how_many_alike(self) -> None:
        if self._more_alike:
            self._say(f"{self._more_alike} more runs were not tried, for the same reason")
        self._more_alike = 0

    def _say(self, what: str) -> None:
        line = f"[{self._finished}/{self._total}] {what}"
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
        if not left or not self._tried:
            return "done" if not left else "time left: not known yet"
        seconds = (time.monotonic() - self._began) / self._tried * left
        return f"about {_duration(seconds)} left"


def _describe(outcome: Outcome) -> str:
    cell = outcome.run.cell
    tokens = f"{cell.input_tokens}+{cell.output_tokens} tokens"
    shape = f"{one_line(cell.model.name)} {cell.precision} batch {cell.batch_size}, {tokens}"
    others = labels.spelled(labels.of_settings(cell.model_dump(mode="json", exclude_defaults=True)))
    what = f"{shape}{f', {others}' if others else ''}, repeat {outcome.run.repeat}: "
    if outcome.failure:
        log = f"; log: {outcome.failure.log}" if outcome.failure.log else ""
        return f"{what}{outcome.failure.status}, {outcome.failure.error_type}: {outcome.failure.error_message}{log}"
    leaders = outcome.results[:: cell.tensor_parallel]
    generated = sum(leader.inference_metrics.generated_tokens for leader in leaders)
    return f"{what}{generated / covered_s(leaders):,.1f} tokens/s"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
