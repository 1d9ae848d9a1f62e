"""The progress lines of a sweep."""

import io

import pytest
from rich.console import Console

from orchestrator import grid
from orchestrator.progress import Progress
from tests.support.sweeps import sweep
from workers.engines.fake import fake_result
from workers.records import Cell, ModelSpec, Outcome, ProcessFailure, Run


def ended(tokens: int, status: str = "ok", message: str = "", *, attempt: int = 0) -> Outcome:
    run = Run(cell=Cell(model=ModelSpec(name="m", source="o/m"), precision="fp32", input_tokens=tokens), repeat=0)
    if status == "ok":
        return Outcome(run=run, results=(fake_result(run),))
    failure = ProcessFailure.model_validate(
        {"cell_id": run.cell.cell_id, "repeat": 0, "status": status, "error_type": "E", "error_message": message,
         "attempt": attempt}
    )  # fmt: skip
    return Outcome(run=run, failure=failure)


def lines(outcomes: list[Outcome], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with Progress(len(outcomes), 0, Console()) as progress:
        for outcome in outcomes:
            progress.add(outcome)
    return capsys.readouterr().out.splitlines()


def test_runs_that_were_not_attempted_for_one_reason_are_one_line_and_a_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = [*(ended(n, "skipped", "no node is left") for n in range(1, 6)), ended(6, "oom", "too big", attempt=1)]
    first, more, last = lines(outcomes, capsys)
    assert first.startswith("[1/6] m fp32 batch 1, 1+32 tokens, repeat 0: skipped, E: no node is left")
    assert more == "[5/6] 4 more runs were not attempted, for the same reason"
    assert last.startswith("[6/6] m fp32 batch 1, 6+32 tokens, repeat 0: oom, E: too big")


def test_runs_that_failed_in_the_same_way_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lines([ended(n, "oom", "too big", attempt=1) for n in range(1, 4)], capsys)) == 3


def test_the_last_runs_that_were_not_attempted_are_counted_too(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [ended(n, "skipped", "no node is left") for n in range(1, 4)]
    assert lines(outcomes, capsys)[-1] == "[3/3] 2 more runs were not attempted, for the same reason"


def test_runs_that_were_not_attempted_give_no_estimate_of_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(5, 0, Console()) as progress:
        progress.add(ended(1, "skipped", "no node is left"))
    assert capsys.readouterr().out.endswith("(time left unknown)\n")


def test_control_characters_in_names_and_errors_never_reach_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e\r\n"
    config = sweep([{"name": hostile}], models=[{"name": f"m{hostile}", "config": {"model_type": "gpt2"}}])
    (run,) = grid.runs(grid.expand(config), config)
    failure = ProcessFailure(cell_id=run.cell.cell_id, repeat=0, status="failed", error_type="E", error_message=hostile)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=300)
    with Progress(2, 0, terminal) as progress:
        progress.add(Outcome(run=run, failure=failure))
        progress.add(Outcome(run=run, results=(fake_result(run),)))
    output = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert r"m\x1b]0;owned\x07\x9b2J\u202e fp32" in output
    assert not {"\x07", "\x9b", "\u202e"} & set(output)
    assert "\x1b]" not in output
