"""The output of a run is read from the files to which Ray redirects it."""

from pathlib import Path

import pytest

from workers.machine import output

SECRET = "hf_abcdefghijklmnopqrstuvwxyz"


def written(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "worker.err"
    path.write_text(text)
    return (str(path),)


def test_only_the_runs_own_lines_are_its_output(tmp_path: Path) -> None:
    files = written(tmp_path, "importing\n:actor_name:m fp32 aa.0\none\n:actor_name:m fp32 bb.0\ntwo\n")
    assert output.printed(files, "bb.0") == "--- worker.err\ntwo\n\n"
    assert output.printed(files, "aa.0") == "", "the output since then belongs to another run"


def test_a_run_that_printed_nothing_has_no_output(tmp_path: Path) -> None:
    assert output.printed(written(tmp_path, ":actor_name:m fp32 aa.0\n\n"), "aa.0") == ""
    assert output.printed((str(tmp_path / "gone"),), "aa.0") == ""


def test_long_output_keeps_its_end_and_states_the_omitted_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MOST_BYTES", 100)
    files = written(tmp_path, ":actor_name:m fp32 aa.0\n" + "x" * 1000 + "\nthe error\n")
    text = output.printed(files, "aa.0")
    assert text.endswith("the error\n\n")
    assert "[... 935 bytes before this ...]" in text
    assert len(text) < 200


def test_cutting_long_output_leaves_no_half_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MOST_BYTES", 30)
    files = written(tmp_path, f":actor_name:m fp32 aa.0\ntoken {SECRET}\nthe error\n")
    assert SECRET[-10:] not in output.printed(files, "aa.0")


def test_secrets_and_escape_codes_are_removed(tmp_path: Path) -> None:
    files = written(tmp_path, f":actor_name:m fp32 aa.0\n\x1b[31mtoken {SECRET}\n")
    text = output.printed(files, "aa.0")
    assert SECRET not in text
    assert "\x1b" not in text
