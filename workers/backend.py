"""The backend that measures in an actor, created from the engine's name that the driver sends."""

import pkgutil
from collections.abc import Callable, Sequence
from typing import Protocol

from workers.records import RawProcessResult, Run, Texts
from workers.records.errors import MeasureError


class Backend(Protocol):
    """Measures runs one after the other in one process, with one engine."""

    def measure(
        self,
        run: Run,
        *,
        texts: Texts,
        rank: int,
        barrier: Callable[[], None] | None,
        prior_runs: int,
    ) -> RawProcessResult:
        """Measure one run on this process.

        Args:
            run: What to measure.
            texts: The texts of the prompt and quality files that the cell names.
            rank: 0-based process of the run.
            barrier: Returns once every rank of the run has called it; None for a run of one rank.
            prior_runs: Number of runs that this process had done before.
        """

    def changes(self) -> Sequence[str]:
        """Descriptions of what changed in the process since its first run; empty: it can measure another run."""


def create(engine: str) -> Backend:
    """The backend of an engine: `transformers`, `fake`, or `MODULE:NAME` of a callable that returns one.

    Raises:
        MeasureError: the engine does not exist.
        ImportError: a library that it needs is not installed here.
    """
    if engine == "transformers":
        from workers.measure import Measurer

        return Measurer()
    if engine == "fake":
        from workers.engines.fake import Fake

        return Fake()
    if ":" not in engine:
        raise MeasureError(f"engine {engine!r} is unknown: use transformers, fake or MODULE:NAME")
    backend: Backend = pkgutil.resolve_name(engine)()
    return backend
