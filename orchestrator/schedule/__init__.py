"""Cells -> stream of outcomes, on Ray. The only room of the driver that imports ray.

`address` checks the cluster that is about to be joined, `watch` whether it is still there. `cluster` knows the nodes,
`worker` holds processes, `prepare` counts FLOPs and fetches weights ahead, `loop` brings them together, `faults` says
what an error of Ray's means, `metrics` tells Prometheus. Which run is next is decided in `orchestrator.backlog`, which
knows nothing of Ray.
"""

import contextlib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence

import ray

from orchestrator.backlog import Backlog
from orchestrator.config import SweepConfig
from orchestrator.schedule.address import ClusterError
from orchestrator.schedule.cluster import Cluster, connect, driver_is_on_head
from orchestrator.schedule.faults import NO_ROOM
from orchestrator.schedule.loop import Loop
from orchestrator.schedule.metrics import Metrics
from orchestrator.schedule.prepare import Preparation
from orchestrator.schedule.watch import LOST_EXIT_CODE, ClusterLost, Watch
from orchestrator.schedule.worker import Equipment
from workers.actor import Measures
from workers.prepare import Counters, Prepared
from workers.records import Outcome, Run

__all__ = ["LOST_EXIT_CODE", "NO_ROOM", "Cluster", "ClusterError", "ClusterLost", "connect", "driver_is_on_head", "run"]


def run(
    runs: Sequence[Run],
    sweep: SweepConfig,
    cluster: Cluster,
    *,
    passed: Collection[str] = (),
    texts: Mapping[str, Sequence[str]] | None = None,
    make: Callable[[], Measures] | None = None,
    estimate: Callable[..., Prepared] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Outcome]:
    """Make the runs, and yield each one's outcome as it ends.

    Args:
        runs: What to run, in the sweep's order.
        sweep: The bounds and the placement.
        cluster: Where; see `connect`.
        passed: Ids of the cells of which a repeat was ok before.
        texts: Prompt and quality texts by their SHA-256; every process gets them.
        make: What measures, made in each process; a stand-in for trivial cells. By default the real `Measurer`.
        estimate: What counts a model's costs, called in threads; a stand-in where nothing is to be counted.
        stop: Asked about once a second; when it says so, what is delivered is yielded, what runs is killed, and that is
            all.

    Raises:
        ClusterLost: The cluster is gone, and with it what ran.
    """
    if not runs:
        return
    equipment = Equipment(sweep=sweep.name, make=make or _measurer, texts=ray.put(dict(texts or {})))
    backlog = Backlog(runs, keep_order=sweep.order != "longest_first")
    metrics = Metrics(sweep.name)
    with Counters() as counters, Watch() as watch:
        preparation = Preparation(runs, cluster, estimate=estimate or counters.prepare)
        loop = Loop(cluster, backlog, preparation, sweep, equipment, passed=passed, watch=watch, stop=stop)
        with contextlib.closing(loop.outcomes()) as outcomes:
            for outcome in outcomes:
                metrics.ended(outcome)
                metrics.busy(loop.busy_share)
                yield outcome


def _measurer() -> Measures:
    """The real thing, imported only in the process that measures."""
    from workers.measure import Measurer

    return Measurer()
