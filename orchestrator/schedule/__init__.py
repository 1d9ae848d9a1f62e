"""Runs -> stream of outcomes, on Ray. The only package of the driver that imports ray.

`address` checks the cluster before the driver joins it, `watch` checks that it is still there. `cluster` knows the
nodes and `node_health` their failures. `worker` holds the processes of one worker, `pool` all workers. `preparation`
counts FLOPs and fetches weights ahead. `backlog` decides which run is next, `endings` how runs end, `retries` remembers
earlier attempts, and `loop` connects them all. `faults` turns Ray's errors into failures, `metrics` reports to
Prometheus, and `describe` lists the nodes for `doctor`.
"""

import contextlib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence

import ray

from orchestrator.config import SweepConfig
from orchestrator.costs.counting.counters import Counters
from orchestrator.schedule.address import ClusterError
from orchestrator.schedule.backlog import Backlog
from orchestrator.schedule.cluster import Cluster, connect, driver_is_on_head
from orchestrator.schedule.endings import Endings
from orchestrator.schedule.loop import Loop
from orchestrator.schedule.metrics import Metrics
from orchestrator.schedule.pool import Pool
from orchestrator.schedule.preparation import Preparation
from orchestrator.schedule.watch import LOST_EXIT_CODE, ClusterLost, Watch
from workers.records import Outcome, Prepared, Run

__all__ = [
    "LOST_EXIT_CODE", "Cluster", "ClusterError", "ClusterLost", "connect", "driver_is_on_head", "run",
]  # fmt: skip


def run(
    runs: Sequence[Run],
    sweep: SweepConfig,
    cluster: Cluster,
    *,
    passed: Collection[str] = (),
    texts: Mapping[str, Sequence[str]] | None = None,
    estimate: Callable[..., Prepared] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Outcome]:
    """Execute the runs, and yield the outcome of each as it ends.

    Args:
        runs: The runs, in the sweep's order.
        sweep: Its limits and its placement.
        cluster: Where to run; see `connect`.
        passed: Ids of the cells that already have a repeat that was ok.
        texts: Prompt and quality texts by their SHA-256; every process gets them.
        estimate: Counts a model's costs, called in threads; by default `Counters.prepare`.
        stop: Called about once a second. Once it returns true, outcomes that are already delivered are yielded, running
            processes are killed, and nothing more begins.

    Raises:
        ClusterLost: The cluster is gone, and the runs in progress with it.
    """
    if not runs:
        return
    backlog = Backlog(runs, keep_order=sweep.order != "longest_first")
    metrics = Metrics(sweep.name)
    with Counters() as counters, Watch() as watch:
        preparation = Preparation(runs, cluster, estimate=estimate or counters.prepare)
        endings = Endings(cluster, backlog, preparation, sweep, passed=passed)
        pool = Pool(cluster, backlog, preparation, endings.retries, sweep=sweep, texts=ray.put(dict(texts or {})))
        loop = Loop(cluster, backlog, preparation, pool=pool, endings=endings, sweep=sweep, watch=watch, stop=stop)
        with contextlib.closing(loop.outcomes()) as outcomes:
            for outcome in outcomes:
                metrics.ended(outcome)
                metrics.busy(pool.busy_share)
                yield outcome
