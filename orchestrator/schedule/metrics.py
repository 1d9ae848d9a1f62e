"""Metrics of a running sweep for Prometheus. Ray serves them beside its own on every node."""

from ray.util.metrics import Counter, Gauge

from workers.records import Outcome


class Metrics:
    """`joulegrid_runs_total{sweep, status}` and `joulegrid_gpu_busy_share{sweep}`.

    Args:
        sweep: The sweep's name.
    """

    def __init__(self, sweep: str) -> None:
        self._tags = {"sweep": sweep}
        self._runs = Counter("joulegrid_runs_total", "Runs that ended, by status.", tag_keys=("sweep", "status"))
        self._busy = Gauge(
            "joulegrid_gpu_busy_share",
            "Share of the GPUs or CPU lanes that are on a run (0 to 1).",
            tag_keys=("sweep",),
        )

    def ended(self, outcome: Outcome) -> None:
        """Count a run."""
        self._runs.inc(1.0, {**self._tags, "status": outcome.status})

    def busy(self, share: float) -> None:
        """Set the share of the cluster's capacity (GPUs, or CPU lanes) that is on a run now; 0 to 1."""
        self._busy.set(share, self._tags)
