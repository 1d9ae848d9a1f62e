"""Faults on a real Ray: processes that die, hang, run out of memory or raise what cannot be pickled."""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
from ray import exceptions

from orchestrator import grid, schedule
from orchestrator.schedule import faults, loop, pool, worker
from tests.support.processes import HANGS_AFTER_S, AheadClock, gone, until
from tests.support.sweeps import lines, not_counted, sweep
from workers.records import Outcome, Run

pytestmark = pytest.mark.usefixtures("ray_session")

Act = dict[str, Any]


def outcomes_of(acts: Iterable[Act], *, meanwhile: Callable[[], None] = lambda: None, **settings: Any) -> list[Outcome]:
    """Run a cell for each act; returns the outcomes in the order of the acts. `meanwhile` runs in a thread."""
    sweep_config = sweep(acts, **settings)
    runs = grid.runs(grid.expand(sweep_config), sweep_config)
    thread = threading.Thread(target=meanwhile)
    thread.start()
    cluster = schedule.connect(sweep_config)
    outcomes = list(schedule.run(runs, sweep_config, cluster))
    thread.join()
    by_key = {outcome.run.key: outcome for outcome in outcomes}
    assert len(by_key) == len(outcomes) == len(runs)
    return [by_key[run.key] for run in runs]


def statuses(outcomes: Iterable[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> AheadClock:
    """The driver's clock."""
    clock = AheadClock()
    for module in (loop, pool, worker):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Ray's references to the result of each run that was started, by the run's key."""
    refs: dict[str, list[Any]] = {}
    start = worker.Worker.start

    def spy(self: worker.Worker, run: Run, *words: Any, **more: Any) -> None:
        start(self, run, *words, **more)
        refs[run.key] = [*self.refs]

    monkeypatch.setattr(worker.Worker, "start", spy)
    return refs


def delivered(refs: list[Any]) -> None:
    """Wait until Ray has the results, though the driver has not taken them in."""
    assert ray.wait(refs, num_returns=len(refs), timeout=HANGS_AFTER_S, fetch_local=False)[0] == refs


class Faulty(NamedTuple):
    """One sweep of cells that each fail in a different way, one after the other in processes that are reused if fit."""

    outcomes: dict[str, Outcome]
    tries: dict[str, list[int]]
    """Process ids of the attempts at each cell."""
    log: list[str]


@pytest.fixture(scope="module")
def faulty(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    folder = tmp_path_factory.mktemp("faulty")
    acts: dict[str, Act] = {
        "good": {},
        "unpicklable": {"raises": "no way", "unpicklable": True},
        "oom": {"raises": "CUDA out of memory. Tried to allocate 2.00 GiB"},
        "changes its process": {"changes": ["torch threads: 2 -> 1", "working directory: /a -> /b"]},
        "killed once": {"kills": str(folder / "killed")},
        "crashes": {"exits": 3},
        "gpu lost": {"raises": "CUDA error: unspecified launch failure"},
        "last": {},
    }
    logged = [act | {"log": str(folder / name)} for name, act in acts.items()]
    log = BufferingHandler(1000)
    logging.getLogger("joulegrid").addHandler(log)
    outcomes = outcomes_of(logged, max_attempts=2, max_node_failures=2, placement={"exclusive_node": True})
    logging.getLogger("joulegrid").removeHandler(log)
    tries = {name: [int(pid) for _, _, pid, _ in lines(folder / name)] for name in acts}
    messages = [record.getMessage() for record in log.buffer]
    return Faulty(dict(zip(acts, outcomes, strict=True)), tries, messages)


def test_a_killed_process_is_tried_again_and_the_first_try_is_kept(faulty: Faulty) -> None:
    outcome = faulty.outcomes["killed once"]
    assert outcome.status == "ok"
    assert [failure.status for failure in outcome.earlier_failures] == ["lost"]
    assert outcome.earlier_failures[0].error_type == "ActorDiedError"
    assert len(set(faulty.tries["killed once"])) == 2


def test_a_cell_that_ends_every_process_is_lost_after_max_attempts(faulty: Faulty) -> None:
    outcome = faulty.outcomes["crashes"]
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.attempt) == ("lost", 2)
    assert [failure.attempt for failure in outcome.earlier_failures] == [1]
    assert len(faulty.tries["crashes"]) == 2


def test_the_only_node_is_not_quarantined_for_cells_that_end_every_process(faulty: Faulty) -> None:
    assert faulty.outcomes["last"].status == "ok"


def test_an_exception_that_cannot_be_pickled_comes_back_as_a_failure(faulty: Faulty) -> None:
    failure = faulty.outcomes["unpicklable"].failure
    assert failure is not None
    assert (failure.status, failure.error_type, failure.error_message) == ("failed", "UnpicklableError", "no way!")
    assert "fake.py" in str(failure.traceback)


def test_out_of_memory_is_not_tried_again(faulty: Faulty) -> None:
    assert faulty.outcomes["oom"].status == "oom"
    assert len(faulty.tries["oom"]) == 1


def test_a_process_goes_on_after_a_cell_that_failed(faulty: Faulty) -> None:
    assert faulty.tries["good"] == faulty.tries["unpicklable"] == faulty.tries["oom"]


def test_a_process_that_a_run_left_changed_is_replaced_and_the_log_says_what_changed(faulty: Faulty) -> None:
    assert faulty.outcomes["changes its process"].status == "ok"
    assert faulty.tries["changes its process"] == faulty.tries["oom"]
    assert not set(faulty.tries["changes its process"]) & set(faulty.tries["killed once"])
    (message,) = [line for line in faulty.log if "changed" in line]
    assert message.startswith(faulty.outcomes["changes its process"].run.key)
    assert message.endswith(": torch threads: 2 -> 1; working directory: /a -> /b")


def test_a_run_whose_gpu_is_lost_is_tried_in_another_process_and_the_first_gets_no_more_runs(faulty: Faulty) -> None:
    assert faulty.outcomes["gpu lost"].status == "lost"
    assert len(set(faulty.tries["gpu lost"])) == 2
    assert not set(faulty.tries["gpu lost"]) & set(faulty.tries["last"])


def test_processes_that_cannot_start_end_the_sweep_with_the_node_and_the_reason() -> None:
    broken = sweep([{}, {}], engine="tests.support.engines:broken", max_node_failures=2)
    runs = grid.runs(grid.expand(broken), broken)
    outcomes = list(schedule.run(runs, broken, schedule.connect(broken), estimate=not_counted))
    (node,) = ray.nodes()
    assert sorted(outcome.run.key for outcome in outcomes) == sorted(run.key for run in runs)
    for outcome in outcomes:
        assert outcome.failure is not None
        assert (outcome.status, outcome.failure.error_type, outcome.failure.attempt) == ("skipped", "NoRoom", 0)
        assert f"quarantined: {node['NodeManagerHostname']} after 2 failures in a row" in outcome.failure.error_message
        assert "libcudart.so.13 is missing" in outcome.failure.error_message


@pytest.mark.slow
def test_a_hopeless_cell_is_tried_once_and_a_cell_with_an_ok_repeat_is_tried_to_the_end(tmp_path: Path) -> None:
    acts: dict[str, Act] = {
        "oom": {"raises": "CUDA out of memory. Tried to allocate 2.00 GiB"},
        "good": {},
        "broken at its second repeat": {"raises": "no", "on_repeat": 1},
        "hangs": {"sleep_s": 600},
    }
    logged = [act | {"log": str(tmp_path / name)} for name, act in acts.items()]
    outcomes = outcomes_of(logged, repeats=3, timeout_s=3, placement={"exclusive_node": True})
    by_name = {name: outcomes[place :: len(acts)] for place, name in enumerate(acts)}  # runs come by rounds
    assert {name: statuses(some) for name, some in by_name.items()} == {
        "oom": ["oom"] * 3,
        "good": ["ok"] * 3,
        "broken at its second repeat": ["ok", "failed", "ok"],
        "hangs": ["timeout"] * 3,
    }
    tries = {name: len(lines(tmp_path / name)) for name in acts}
    assert tries == {"oom": 1, "good": 3, "broken at its second repeat": 3, "hangs": 1}
    failures = [outcome.failure for outcome in by_name["oom"] if outcome.failure]
    assert [failure.attempt for failure in failures] == [1, 0, 0]
    assert {failure.error_message.partition(": CUDA")[0] for failure in failures[1:]} == {
        "not tried: repeat 0 ran out of memory"
    }


@pytest.mark.slow
def test_a_process_killed_from_outside_without_further_attempts_is_lost_and_the_others_are_ok(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def kill() -> None:
        until(lambda: lines(log))
        os.kill(int(lines(log)[0][2]), signal.SIGKILL)

    outcomes = outcomes_of([{"log": str(log), "sleep_s": 600}, {}], meanwhile=kill, max_attempts=1)
    assert statuses(outcomes) == ["lost", "ok"]
    assert outcomes[0].failure is not None
    assert outcomes[0].failure.attempt == 1


@pytest.mark.parametrize(
    "stopped", [pytest.param(False, id="asleep"), pytest.param(True, id="SIGSTOP", marks=pytest.mark.slow)]
)
def test_a_hung_run_times_out_its_process_is_gone_and_its_slot_is_used_again(
    tmp_path: Path, clock: AheadClock, stopped: bool
) -> None:
    log = tmp_path / "log"

    def stop() -> None:
        until(lambda: lines(log))
        if stopped:
            os.kill(int(lines(log)[0][2]), signal.SIGSTOP)
        clock.by_s += 601

    # One process takes the whole cluster: the second can only run after the first is gone.
    hung, after = outcomes_of(
        [{"log": str(log), "sleep_s": 6000}, {"log": str(log)}], meanwhile=stop, timeout_s=600,
        placement={"exclusive_node": True},
    )  # fmt: skip
    assert statuses([hung, after]) == ["timeout", "ok"]
    until(lambda: gone(int(lines(log)[0][2])))
    assert after.results[0].pid == int(lines(log)[1][2])


@pytest.mark.slow
def test_a_rank_that_dies_ends_its_gang_and_the_run_is_tried_again(tmp_path: Path) -> None:
    log, killed = tmp_path / "log", tmp_path / "killed"
    act = {"log": str(log), "kills": str(killed), "on_rank": 1}
    (outcome,) = outcomes_of([act], axes={"processes": 2, "batch_size": 2}, timeout_s=600)
    assert outcome.status == "ok"
    assert [result.rank for result in outcome.results] == [0, 1]
    assert [failure.status for failure in outcome.earlier_failures] == ["lost"]
    assert Counter(rank for _, rank, _, _ in lines(log)) == {"0": 2, "1": 2}
    first_try = [int(pid) for _, _, pid, _ in lines(log)[:2]]
    until(lambda: all(map(gone, first_try)))


@pytest.mark.slow
def test_a_loop_that_stops_yields_delivered_results_and_kills_the_rest(
    tmp_path: Path, started: dict[str, list[Any]]
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    sweep_config = sweep([{"log": str(log), "wait_for": str(go_on)}, {"log": str(log), "sleep_s": 600}])
    runs = grid.runs(grid.expand(sweep_config), sweep_config)

    def stop() -> bool:
        if both := len(lines(log)) == 2:
            go_on.touch()
            delivered(started[runs[0].key])
        return both

    cluster = schedule.connect(sweep_config)
    stream = schedule.run(runs, sweep_config, cluster, stop=stop)
    assert [outcome.run.key for outcome in stream] == [runs[0].key]
    until(lambda: all(gone(int(pid)) for _, _, pid, _ in lines(log)))


def test_a_result_that_arrives_in_time_while_the_driver_writes_is_no_timeout(
    tmp_path: Path, clock: AheadClock, started: dict[str, list[Any]]
) -> None:
    log, written = tmp_path / "log", tmp_path / "written"
    sweep_config = sweep([{"wait_for": str(log)}, {"log": str(log), "wait_for": str(written)}], timeout_s=600)
    runs = grid.runs(grid.expand(sweep_config), sweep_config)
    cluster = schedule.connect(sweep_config)
    statuses = []
    for outcome in schedule.run(runs, sweep_config, cluster):
        if not statuses:
            written.touch()
            delivered(started[runs[1].key])
            clock.by_s += 601  # as if a bucket took long to store the first result
        statuses.append(outcome.status)
    assert statuses == ["ok", "ok"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exceptions.OutOfMemoryError("Task was killed due to the node running low on memory."), "oom"),
        (
            exceptions.ActorUnavailableError("may or may not have been executed", None),
            "lost",
        ),
        (exceptions.NodeDiedError("the node died"), "lost"),
        (exceptions.LocalRayletDiedError(), "lost"),
        (exceptions.OutOfDiskError("spilling failed"), "lost"),
        (exceptions.UnserializableException("Traceback"), "failed"),
        (exceptions.RuntimeEnvSetupError("pip failed"), "failed"),
    ],
)
def test_each_error_of_rays_has_its_status(error: Exception, status: str) -> None:
    (run,) = grid.runs(grid.expand(sweep_config := sweep([{}])), sweep_config)
    failure = faults.failure(run, error, host="h", attempt=1)
    assert (failure.status, failure.attempt) == (status, 1)
    assert failure.error_message
    assert faults.is_hopeless(failure) == (status != "lost"), "a run that was lost may succeed on another try"
