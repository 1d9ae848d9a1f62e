"""The driver: reads a sweep, plans its cells, schedules them on Ray, writes Parquet. Never loads torch.

import orchestrator

results = orchestrator.run("sweep.yaml")       # or the same keys as a dict
results = orchestrator.load("results/nightly") # a folder, a file, s3://...
results.results, results.raw                   # Arrow; also .to_pandas() and .to_polars()
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Imported here, not where it is called: importing the module `load` later would put it in the function's place.
from orchestrator.load import Results, load

__all__ = ["load", "run"]


def run(sweep: str | Path | Mapping[str, Any], *, fresh: bool = False, retry_failed: bool = False) -> Results:
    """Run a sweep (or what is left of it) and return its results. Failed cells are rows, not exceptions.

    Args:
        sweep: A sweep file's path, or the same keys as a mapping; relative paths then begin in the current folder.
        fresh: Forget what was measured before.
        retry_failed: Measure failed runs again.

    Raises:
        orchestrator.config.SweepError: The sweep is wrong; the message says all of what, and where.
        orchestrator.store.StoreError: The results cannot be kept.
        orchestrator.schedule.ClusterError: There is no Ray to run on.
        orchestrator.schedule.ClusterLost: Ray was lost in the middle; what is measured is kept.
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
