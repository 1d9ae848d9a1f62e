"""A log of each run that failed or printed something, next to the journal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import sweep
from orchestrator.progress import Progress
from orchestrator.store import Folder, Journal, Logs, StoreError
from workers.engines.fake import fake_result
from workers.records import Cell, ModelSpec, Outcome, ProcessFailure, Run

RUN = Run(cell=Cell(model=ModelSpec(name="m", source="o/m"), precision="fp32"), repeat=0)
OK = Outcome(run=RUN, results=(fake_result(RUN),))


def failed(*, attempt: int = 1) -> ProcessFailure:
    return ProcessFailure(
        cell_id=RUN.cell.cell_id, repeat=0, status="failed", error_type="ValueError", error_message="no",
        traceback="Traceback of it", host="h", attempt=attempt,
    )  # fmt: skip


def test_a_log_has_every_attempt_and_the_output_and_its_failure_names_it(tmp_path: Path) -> None:
    both = Outcome(run=RUN, failure=failed(attempt=2), earlier_failures=(failed(),), printed="hello\n")
    logs = Logs(Folder(str(tmp_path)))
    named = logs.with_log_path(both)
    assert named.failure is not None
    assert named.failure.log == f"logs/{RUN.key}.log"
    assert not (tmp_path / named.failure.log).exists()
    logs.write(named)
    assert (tmp_path / named.failure.log).read_text() == (
        "try 1 on h: failed, ValueError: no\nTraceback of it\n"
        "try 2 on h: failed, ValueError: no\nTraceback of it\n"
        "hello\n"
    )


def test_a_run_that_is_ok_and_printed_nothing_has_no_log(tmp_path: Path) -> None:
    logs = Logs(Folder(str(tmp_path)))
    logs.write(OK)
    assert logs.with_log_path(OK) == OK
    assert not (tmp_path / "logs").exists()


def test_a_run_that_was_not_attempted_has_no_log(tmp_path: Path) -> None:
    outcome = Outcome(run=RUN, failure=failed(attempt=0))
    logs = Logs(Folder(str(tmp_path)))
    logs.write(outcome)
    assert logs.with_log_path(outcome) == outcome
    assert not (tmp_path / "logs").exists()


def test_a_log_that_cannot_be_written_is_reported_once_and_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("no space left")

    folder = Folder(str(tmp_path))
    monkeypatch.setattr(folder, "write", refuse)
    logs, outcome = Logs(folder), Outcome(run=RUN, failure=failed())
    for _ in range(2):
        logs.write(outcome)
    assert logs.with_log_path(outcome) == outcome, "a failure names a log that does not exist"
    assert [record.getMessage() for record in caplog.records] == ["no more logs of runs are written: no space left"]


def test_the_log_of_an_earlier_attempt_is_deleted_once_the_run_is_ok(tmp_path: Path) -> None:
    Logs(Folder(str(tmp_path))).write(Outcome(run=RUN, failure=failed()))
    (file,) = (tmp_path / "logs").iterdir()
    Logs(Folder(str(tmp_path))).write(OK)
    assert not file.exists()


def test_a_result_does_not_wait_for_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    folder = Folder(str(tmp_path))
    monkeypatch.setattr(folder, "write", lambda name, _data: written.append(name))
    ended = (each for each in [Outcome(run=RUN, failure=failed())])
    with Progress(1, 0, Console(file=io.StringIO())) as progress:
        sweep._store_outcomes(ended, Logs(folder), Journal(folder, "env", "cpu"), progress)
    assert written == [f"journal/{RUN.key}.json", f"logs/{RUN.key}.log"]
