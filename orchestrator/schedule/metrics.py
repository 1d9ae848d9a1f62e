"""What Prometheus can ask about a sweep while it runs: Ray serves these beside its own metrics on every node."""

from ray.util.metrics import Counter, Gauge

from workers.records import Outcome


class Metrics:
    """`joulegrid_runs_total{sweep, status}` and `joulegrid_gpu_busy_share{sweep}`.

    Args:
        sweep: The sweep's name.
    """

    def __init__(self, sweep: str) -> None:
        self._tags = {"sweep": sweep}
        self._runs = Counter("joulegrid_runs_total", "Runs that ended, by how.", tag_keys=("sweep", "status"))
        self._busy = Gauge("joulegrid_gpu_busy_share", "Share of the units on a run (0 to 1).", tag_keys=("sweep",))

    def ended(self, outcome: Outcome) -> None:
        """Count a run."""
        self._runs.inc(1.0, {**self._tags, "status": outcome.status})

    def busy(self, share: float) -> None:
        """Say how much of the cluster's room (GPUs, or CPU lanes) is on a run right now; 0 to 1."""
        self._busy.set(share, self._tags)
