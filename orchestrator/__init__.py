"""The driver: reads a sweep, plans its cells, schedules them on Ray, and writes Parquet. Never imports torch.

import orchestrator

results = orchestrator.run("sweep.yaml")       # or the same keys as a dict
results = orchestrator.load("results/nightly") # a folder, a file, s3://...
results.results, results.raw                   # Arrow; also .to_pandas() and .to_polars()
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.results.reader import Results, load
from workers.records.errors import JouleGridError

__all__ = ["JouleGridError", "load", "run"]


def run(sweep: str | Path | Mapping[str, Any], *, fresh: bool = False, retry_failed: bool = False) -> Results:
    """Run a sweep, or the rest of it, and return its results. Failed cells are rows, not exceptions.

    Args:
        sweep: The path of a sweep file, or its keys as a mapping, with paths relative to the current folder.
        fresh: Discard the results of earlier runs first.
        retry_failed: Measure failed runs again.

    Raises:
        JouleGridError: The root of the following exceptions.
        orchestrator.config.SweepError: The sweep is invalid; the message lists every problem and its place.
        orchestrator.store.StoreError: The results cannot be written.
        orchestrator.schedule.ClusterError: No Ray cluster can be joined or started.
        orchestrator.schedule.ClusterLost: Ray was lost during the sweep; finished runs are kept.
    """
    from rich.console import Console

    from orchestrator import config
    from orchestrator import sweep as flow

    if isinstance(sweep, Mapping):
        folder, checked = Path.cwd(), config.from_mapping(sweep)
    else:
        folder, checked = Path(sweep).parent, config.load(Path(sweep))
    finished = flow.run(checked, folder=folder, console=Console(), fresh=fresh, retry_failed=retry_failed)
    return load(finished.url)
