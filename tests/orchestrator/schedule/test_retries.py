"""What is remembered of a run's earlier attempts, and for how long."""

from orchestrator.schedule.retries import Retries
from workers.engines.fake import fake_result
from workers.records import Cell, ModelSpec, ProcessFailure, Run

CELL = Cell(model=ModelSpec(name="m", config={"model_type": "llama"}), precision="bf16")
RUN, OTHER = (Run(cell=CELL, repeat=repeat) for repeat in (0, 1))


def failure(attempt: int, run: Run = RUN) -> ProcessFailure:
    return ProcessFailure(
        cell_id=CELL.cell_id, repeat=run.repeat, status="lost", error_type="X", error_message="gone", attempt=attempt
    )


def test_attempts_are_counted_from_one_and_each_run_has_its_own() -> None:
    retries = Retries(3)
    assert retries.next_attempt(RUN) == 1
    retries.lost(RUN, failure(1), "n1")
    retries.lost(RUN, failure(2), "n2")
    assert (retries.next_attempt(RUN), retries.next_attempt(OTHER)) == (3, 1)


def test_a_run_is_begun_as_often_as_allowed_the_first_time_included() -> None:
    assert [Retries(3).may_retry(attempt) for attempt in (1, 2, 3, 4)] == [True, True, False, False]
    assert not Retries(1).may_retry(1)


def test_the_nodes_that_lost_a_run_are_known_until_it_ends() -> None:
    retries = Retries(3)
    retries.lost(RUN, failure(1), "n1")
    retries.lost(RUN, failure(2), "n2")
    retries.lost(OTHER, failure(1, OTHER), "n3")
    assert (retries.nodes(RUN), retries.nodes(OTHER)) == ({"n1", "n2"}, {"n3"})
    assert retries.all_nodes == {"n1", "n2", "n3"}
    retries.outcome(RUN, [], failure(3))
    assert (retries.nodes(RUN), retries.all_nodes) == (set(), {"n3"})


def test_an_outcome_has_all_failures_and_all_that_was_printed_and_then_they_are_forgotten() -> None:
    retries = Retries(3)
    retries.lost(RUN, failure(1), "n1")
    retries.printed(RUN, "one ")
    retries.printed(RUN, "two")
    ended = retries.outcome(RUN, [fake_result(RUN)], None)
    assert [earlier.attempt for earlier in ended.earlier_failures] == [1]
    assert (len(ended.results), ended.failure, ended.printed) == (1, None, "one two")
    again = retries.outcome(RUN, [], failure(1))
    assert (again.earlier_failures, again.printed, retries.next_attempt(RUN)) == ((), "", 1)
    assert again.failure is not None
    assert again.failure.attempt == 1


def test_the_last_failure_can_be_taken_back() -> None:
    retries = Retries(3)
    retries.lost(RUN, failure(1), "n1")
    retries.lost(RUN, failure(2), "n1")
    taken = retries.withdraw_last(RUN)
    assert taken is not None
    assert (taken.attempt, retries.next_attempt(RUN)) == (2, 2)
    assert retries.withdraw_last(OTHER) is None
