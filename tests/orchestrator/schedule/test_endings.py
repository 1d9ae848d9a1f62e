"""How runs end, on a cluster of nodes that exist only here: no process and no Ray."""

import concurrent.futures
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from orchestrator.schedule import endings as endings_module
from orchestrator.schedule.backlog import Backlog
from orchestrator.schedule.cluster import Cluster, Node
from orchestrator.schedule.endings import Endings
from orchestrator.schedule.preparation import Preparation
from orchestrator.schedule.worker import Busy
from tests.support.sweeps import sweep
from workers.engines.fake import fake_result
from workers.records import (
    Cell,
    FlopsEstimates,
    FlopsResult,
    Hardware,
    InferenceCost,
    ModelSpec,
    Outcome,
    Prepared,
    ProcessFailure,
    Run,
    Shape,
)

MODEL = ModelSpec(name="m", config={"model_type": "llama"})
FLOPS = 1e9


def cell(tokens: int, **settings: Any) -> Cell:
    return Cell(model=MODEL, precision="bf16", input_tokens=tokens, **settings)


def repeats(of: Cell, count: int = 3) -> list[Run]:
    return [Run(cell=of, repeat=repeat) for repeat in range(count)]


def node(name: str, *, card: str = "H100") -> Node:
    return Node(id=name, host=f"host-{name}", card=card, capacity=8, cpus=64, gpus=8)


class Sweep(NamedTuple):
    """A sweep whose runs are prepared, none of them begun."""

    endings: Endings
    backlog: Backlog
    cluster: Cluster

    def begin(self, run: Run) -> Busy:
        """Take a run out of the backlog, as a worker does."""
        self.backlog.remove([run])
        return Busy(run, self.endings.retries.next_attempt(run), deadline=0.0)

    def lose(self, run: Run, on: str) -> list[Outcome]:
        """Begin a run, and lose its process on a node."""
        busy = self.begin(run)
        lost = failure(run, "lost", attempt=busy.attempt)
        return self.endings.lost(busy, (), lost, self.cluster.nodes[on])


def prepared(
    runs: Sequence[Run], *nodes: Node, passed: Sequence[str] = (), counts: bool = True, **limits: Any
) -> Sweep:
    def estimate(_: ModelSpec, __: dict[str, object], shapes: Sequence[Shape]) -> Prepared:
        flops = FlopsResult(value=FLOPS, method="calflops", confidence="high", precision="bf16")
        cost = InferenceCost(
            flops=flops, estimates=FlopsEstimates(calflops=FLOPS), parameters=7, active_parameters=7, weight_memory_mb=1
        )
        return Prepared(costs=(cost,) * len(shapes)) if counts else Prepared(reason="no count of this model")

    cluster = Cluster(device="cuda", units_per_process=1, exclusive_node=False, strategy="STRICT_PACK")
    cluster.nodes = {each.id: each for each in nodes or (node("a"), node("b"), node("c"))}
    preparation, backlog = Preparation(runs, cluster, estimate=estimate), Backlog(runs, keep_order=False)
    concurrent.futures.wait(preparation.counts)
    assert not preparation.settle_counts(preparation.counted, backlog)
    return Sweep(Endings(cluster, backlog, preparation, sweep([{}], **limits), passed=passed), backlog, cluster)


def failure(run: Run, status: Any, *, attempt: int = 1) -> ProcessFailure:
    return ProcessFailure(
        cell_id=run.cell.cell_id,
        repeat=run.repeat,
        status=status,
        error_type="X",
        error_message="boom",
        attempt=attempt,
    )


def failure_of(outcome: Outcome) -> ProcessFailure:
    assert outcome.failure is not None
    return outcome.failure


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_module, "logs_folder", lambda: "/ray/logs")


def test_a_result_gets_the_cost_of_its_model() -> None:
    (run, *_) = runs = repeats(cell(1))
    result = fake_result(run)
    (outcome,) = prepared(runs).endings.ended(run, [result])
    compute = outcome.results[0].compute_metrics
    assert compute.flops is not None
    assert (compute.flops.value, compute.parameters, compute.flops_reason) == (FLOPS, 7, None)
    assert compute.flops_per_second == FLOPS * result.inference_metrics.generations / result.inference_metrics.window_s


def test_a_result_without_a_cost_gets_the_reason() -> None:
    (run, *_) = runs = repeats(cell(1))
    (outcome,) = prepared(runs, counts=False).endings.ended(run, [fake_result(run)])
    compute = outcome.results[0].compute_metrics
    assert (compute.flops, compute.flops_reason) == (None, "no count of this model")


@pytest.mark.parametrize("status", ["oom", "timeout", "failed"])
def test_a_hopeless_failure_ends_the_other_repeats_of_its_cell_and_no_other_cell(status: str) -> None:
    hopeless, other = repeats(cell(1)), repeats(cell(2))
    now = prepared([*hopeless, *other])
    now.begin(hopeless[0])
    outcomes = now.endings.ended(hopeless[0], failure=failure(hopeless[0], status))
    assert [outcome.run for outcome in outcomes] == hopeless
    assert [outcome.status for outcome in outcomes] == [status] * 3
    assert [failure_of(outcome).attempt for outcome in outcomes] == [1, 0, 0]
    assert failure_of(outcomes[1]).error_message.startswith("not tried: repeat 0 ")
    assert sorted(run.key for run in now.backlog.remaining()) == sorted(run.key for run in other)


@pytest.mark.parametrize("earlier", [True, False], ids=["in an earlier sweep", "in this sweep"])
def test_a_cell_with_an_ok_repeat_keeps_its_other_repeats(earlier: bool) -> None:
    runs = repeats(cell(1))
    now = prepared(runs, passed=[runs[0].cell.cell_id] if earlier else [])
    if not earlier:
        now.begin(runs[0])
        now.endings.ended(runs[0], [fake_result(runs[0])])
    now.begin(runs[1])
    (outcome,) = now.endings.ended(runs[1], failure=failure(runs[1], "failed"))
    assert outcome.status == "failed"
    assert runs[2] in list(now.backlog.remaining())


def test_a_lost_run_is_queued_again_until_the_last_attempt_and_keeps_its_failures() -> None:
    (run,) = repeats(cell(1), 1)
    now = prepared([run], max_attempts=3)
    for on in ("a", "b"):
        assert now.lose(run, on) == []
        assert list(now.backlog.remaining()) == [run]
    assert now.endings.retries.nodes(run) == {"a", "b"}
    (outcome,) = now.lose(run, "c")
    assert (outcome.status, failure_of(outcome).attempt) == ("lost", 3)
    assert [earlier.attempt for earlier in outcome.earlier_failures] == [1, 2]
    assert len(now.backlog) == 0


def test_a_lost_run_does_not_end_the_other_repeats() -> None:
    runs = repeats(cell(1))
    now = prepared(runs, max_attempts=1)
    assert [outcome.run for outcome in now.lose(runs[0], "a")] == [runs[0]]
    assert sorted(run.key for run in now.backlog.remaining()) == sorted(run.key for run in runs[1:])


def test_a_node_that_loses_cell_after_cell_is_quarantined() -> None:
    runs = [run for tokens in (1, 2, 3) for run in repeats(cell(tokens), 1)]
    now = prepared(runs, max_node_failures=3)
    for run in runs[:2]:
        now.lose(run, "a")
        assert now.cluster.quarantined == {}
    now.lose(runs[2], "a")
    assert now.cluster.quarantined == {
        "a": "host-a after 3 failures in a row, the last: boom; Ray's logs there: /ray/logs"
    }


def test_a_cell_that_dies_on_two_nodes_counts_against_neither() -> None:
    killer, *others = [run for tokens in (1, 2, 3) for run in repeats(cell(tokens), 1)]
    now = prepared([killer, *others], max_node_failures=2, max_attempts=5)
    now.lose(killer, "a")
    now.lose(killer, "b")
    now.lose(others[0], "a")
    now.lose(others[0], "b")
    assert now.cluster.quarantined == {}
    now.lose(others[1], "a")
    assert now.cluster.quarantined == {}
    now.endings.failed_to_start(now.cluster.nodes["a"], "no driver")
    assert [*now.cluster.quarantined] == ["a"]


def test_a_delivery_ends_the_failures_in_a_row() -> None:
    runs = [run for tokens in (1, 2) for run in repeats(cell(tokens), 1)]
    now = prepared(runs, max_node_failures=2)
    now.lose(runs[0], "a")
    now.endings.delivered([now.cluster.nodes["a"]])
    now.lose(runs[1], "a")
    assert now.cluster.quarantined == {}


def test_runs_that_no_node_can_hold_are_skipped_and_the_others_stay() -> None:
    small, large = repeats(cell(1), 2), repeats(cell(1, processes=16, batch_size=16), 2)
    now = prepared([*small, *large], node("a"))
    outcomes = now.endings.without_capacity()
    assert sorted(outcome.run.key for outcome in outcomes) == sorted(run.key for run in large)
    for outcome in outcomes:
        skipped = failure_of(outcome)
        assert (skipped.status, skipped.error_type, skipped.attempt) == ("skipped", "NoRoom", 0)
        assert skipped.error_message == (
            "the cluster cannot hold 16 processes on one node: it has host-a: 8 x H100, 64 CPUs"
        )
    assert sorted(run.key for run in now.backlog.remaining()) == sorted(run.key for run in small)


def test_a_run_that_was_lost_with_the_last_node_for_it_ends_as_lost_and_not_as_skipped() -> None:
    tried, untried = repeats(cell(1), 2)
    now = prepared([tried, untried], node("a"), max_attempts=3)
    now.lose(tried, "a")
    del now.cluster.nodes["a"]
    by_key = {outcome.run.key: outcome for outcome in now.endings.without_capacity()}
    lost = failure_of(by_key[tried.key])
    assert (lost.status, lost.attempt, by_key[tried.key].earlier_failures) == ("lost", 1, ())
    assert lost.error_message == (
        "boom; not tried again: the cluster cannot hold 1 process on one node: it has no nodes"
    )
    assert failure_of(by_key[untried.key]).status == "skipped"


def test_a_quarantine_ends_the_runs_that_only_that_node_could_hold() -> None:
    pinned, free = repeats(cell(1, accelerator_type="T4"), 1), repeats(cell(2), 1)
    now = prepared([*pinned, *free], node("a", card="T4"), node("b"), max_node_failures=1)
    (outcome,) = now.endings.failed_to_start(now.cluster.nodes["a"], "no driver")
    assert (outcome.run, outcome.status) == (pinned[0], "skipped")
    assert failure_of(outcome).error_message.endswith(
        "; quarantined: host-a after 1 failure in a row, the last: no driver; Ray's logs there: /ray/logs"
    )
    assert list(now.backlog.remaining()) == free


def test_a_run_is_skipped_once_no_card_of_the_cluster_supports_it() -> None:
    fp8 = Run(cell=Cell(model=MODEL, precision="fp8-torchao"), repeat=0)
    now = prepared([fp8, *repeats(cell(1), 1)], node("a", card="A100"), node("b", card="A30"))
    old = Hardware(device="cuda", card="old", compute_capability=(8, 0))
    assert now.endings.hardware_found("A100", old) == []  # the other card may support it
    (outcome,) = now.endings.hardware_found("A30", old)
    assert (outcome.run, outcome.status, failure_of(outcome).attempt) == (fp8, "skipped", 0)
    assert "compute capability" in failure_of(outcome).error_message
