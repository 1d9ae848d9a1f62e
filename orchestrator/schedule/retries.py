"""The earlier attempts at each run: their failures, their output, and the nodes where they were lost. Pure."""

from collections import defaultdict
from collections.abc import Sequence

from workers.records import Outcome, ProcessFailure, RawProcessResult, Run
from workers.records.redact import redacted


class Retries:
    """The attempts at each run, until the run ends.

    Args:
        max_attempts: Most attempts at a run that is lost, the first one included.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._failures: dict[str, list[ProcessFailure]] = defaultdict(list)
        self._printed: dict[str, str] = defaultdict(str)
        self._nodes: dict[str, set[str]] = defaultdict(set)

    def next_attempt(self, run: Run) -> int:
        """1-based number of the run's next attempt."""
        return len(self._failures.get(run.key, ())) + 1

    def may_retry(self, attempt: int) -> bool:
        """Whether a run that was lost on this (1-based) attempt gets another."""
        return attempt < self._max_attempts

    def lost(self, run: Run, failure: ProcessFailure, node: str) -> None:
        """Remember an attempt whose process or node was lost."""
        self._failures[run.key].append(failure)
        self._nodes[run.key].add(node)

    def printed(self, run: Run, text: str) -> None:
        """Keep what an attempt printed."""
        self._printed[run.key] += text

    def nodes(self, run: Run) -> set[str]:
        """Ids of the nodes where the run was lost."""
        return self._nodes.get(run.key, set())

    @property
    def all_nodes(self) -> set[str]:
        """Ids of the nodes where runs were lost that will be tried again: other nodes come first."""
        return set().union(*self._nodes.values())

    def withdraw_last(self, run: Run) -> ProcessFailure | None:
        """Remove and return the last attempt's failure, if the run cannot be tried again after all; null if none."""
        failures = self._failures.get(run.key)
        return failures.pop() if failures else None

    def outcome(self, run: Run, results: Sequence[RawProcessResult], failure: ProcessFailure | None) -> Outcome:
        """The outcome of the run over all its attempts, which are then forgotten."""
        self._nodes.pop(run.key, None)
        return Outcome(
            run=run,
            results=tuple(results),
            failure=failure and redacted(failure),
            earlier_failures=tuple(self._failures.pop(run.key, ())),
            printed=self._printed.pop(run.key, ""),
        )
