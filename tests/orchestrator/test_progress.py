import io

from equipment import result, sweep
from rich.console import Console

from orchestrator import plan
from orchestrator.progress import Progress
from workers.records import Outcome, ProcessFailure


def test_nothing_that_a_model_is_called_or_an_error_says_steers_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e\r\n"
    asked = sweep([{"name": hostile}], models=[{"name": f"m{hostile}", "config": {"model_type": "gpt2"}}])
    (run,) = plan.runs(plan.expand(asked), asked)
    failure = ProcessFailure(cell_id=run.cell.cell_id, repeat=0, status="failed", error_type="E", error_message=hostile)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=300)
    with Progress(2, 0, terminal) as progress:
        progress.saw(Outcome(run=run, failure=failure))
        progress.saw(Outcome(run=run, results=(result(run),)))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert r"m\x1b]0;owned\x07\x9b2J\u202e fp32" in shown
    assert not {"\x07", "\x9b", "\u202e"} & set(shown)
    assert "\x1b]" not in shown
