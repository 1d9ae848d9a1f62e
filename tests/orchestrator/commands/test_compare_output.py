"""What `compare` prints, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.commands.compare import main
from tests.support.compared import Write, snapshot


def test_markdown_escapes_names_and_errors(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {3: {"status": "failed", "error_type": "ValueError", "error_message": "a | b\n<img>"}}

    assert main([write("a", snapshot(rng)), write("b", snapshot(rng, odd=broken)), "--format", "markdown"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("## FAILED: 1 cell stopped working")
    assert "| failed: ValueError: a \\| b &lt;img> |" in out


def test_text_in_brackets_is_not_markup(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {3: {"status": "failed", "error_message": "[bold]index[/bold] [/]"}}
    main([write("a", snapshot(rng)), write("b", snapshot(rng, odd=broken))])

    assert "[bold]index[/bold] [/]" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["text", "markdown"])
def test_control_characters_in_names_and_errors_are_escaped(
    output: str, write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e"
    broken = {3: {"status": "failed", "error_message": f"no {hostile}", "driver_version": f"d{hostile}"}}
    folder = f"b{hostile}"
    main([write("a", snapshot(rng)), write(folder, snapshot(rng, odd=broken)), "--format", output])
    out = capsys.readouterr().out
    assert r"no \x1b]0;owned".replace("\\", "\\\\" if output == "markdown" else "\\") in out
    assert not set(hostile) & set(out) - set("owned]0;2J")


def test_snapshots_without_a_common_cell_are_bad_input(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write("a", snapshot(rng, range(3))), write("b", snapshot(rng, range(3, 6)))]) == 2
    assert "no cell in common" in capsys.readouterr().err


def test_two_rows_for_one_cell_are_bad_input(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write("a", snapshot(rng) + snapshot(rng)), write("b", snapshot(rng))]) == 2
    assert f"cell {0:016x} has several rows" in capsys.readouterr().err


def test_missing_results_are_bad_input(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([str(tmp_path / "nowhere"), write("b", snapshot(rng))]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such folder\n"


@pytest.mark.parametrize(
    ("false_alarms", "percent"),
    [("0.01", "99"), ("0.001", "99.9"), ("0.05", "95"), ("0.9", "10"), ("0.00001", "99.999"), ("1e-9", "99.9999999")],
)
@pytest.mark.parametrize("output", ["text", "markdown"])
def test_the_title_of_the_interval_states_its_confidence(  # noqa: PLR0917 - pytest calls it by names
    output: str,
    false_alarms: str,
    percent: str,
    write: Write,
    rng: np.random.Generator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng, slow={3: {"ttft_s": 2.0}}))

    assert main([a, b, "--false-alarms", false_alarms, "--format", output]) == 1
    assert f" {percent} % simultaneous interval " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "give two snapshots to compare"),
        (["--history", "d", "a"], "--history cannot be combined with BASELINE"),
        (["a", "b", "--threshold", "5"], "'5' is not a number between 0 and 1; did you mean 0.05?"),
        (["a", "b", "--across", "drivr"], "did you mean 'driver'?"),
        (["a", "b", "--burst", "-1"], "'-1' is not a number of seconds"),
    ],
)
def test_wrong_arguments_are_rejected_with_a_hint(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)

    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_results_in_a_file_are_compared_like_those_in_a_folder(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (Path(write(name, snapshot(rng))) / "results.parquet" for name in "ab")

    assert main([str(a), str(b)]) == 0
