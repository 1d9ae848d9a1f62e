"""A log of each run that failed or printed something, beside the journal."""

from pathlib import Path

import pytest
from equipment import result

from orchestrator.store import Folder, Logs, StoreError
from workers.records import Cell, ModelSpec, Outcome, ProcessFailure, Run

RUN = Run(cell=Cell(model=ModelSpec(name="m", source="o/m"), precision="fp32"), repeat=0)
OK = Outcome(run=RUN, results=(result(RUN),))


def failed(*, attempt: int = 1) -> ProcessFailure:
    return ProcessFailure(
        cell_id=RUN.cell.cell_id, repeat=0, status="failed", error_type="ValueError", error_message="no",
        traceback="Traceback of it", host="h", attempt=attempt,
    )  # fmt: skip


def test_a_log_has_every_try_and_what_was_printed_and_its_failure_names_it(tmp_path: Path) -> None:
    both = Outcome(run=RUN, failure=failed(attempt=2), earlier_failures=(failed(),), printed="hello\n")
    kept = Logs(Folder(str(tmp_path))).keep(both)
    assert kept.failure is not None
    assert kept.failure.log == f"logs/{RUN.key}.log"
    assert (tmp_path / kept.failure.log).read_text() == (
        "try 1 on h: failed, ValueError: no\nTraceback of it\n"
        "try 2 on h: failed, ValueError: no\nTraceback of it\n"
        "hello\n"
    )


def test_a_run_that_is_ok_and_printed_nothing_has_no_log(tmp_path: Path) -> None:
    assert Logs(Folder(str(tmp_path))).keep(OK) == OK
    assert not (tmp_path / "logs").exists()


def test_a_run_that_was_not_tried_has_no_log(tmp_path: Path) -> None:
    outcome = Outcome(run=RUN, failure=failed(attempt=0))
    assert Logs(Folder(str(tmp_path))).keep(outcome) == outcome


def test_a_log_that_cannot_be_written_is_said_once_and_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("no space left")

    folder = Folder(str(tmp_path))
    monkeypatch.setattr(folder, "write", refuse)
    logs, outcome = Logs(folder), Outcome(run=RUN, failure=failed())
    assert logs.keep(outcome) == logs.keep(outcome) == outcome
    assert [record.getMessage() for record in caplog.records] == ["no logs of runs are kept: no space left"]
