"""What a run printed is read from the files that Ray sends a process's output to."""

from pathlib import Path

import pytest

from workers import output

SECRET = "hf_abcdefghijklmnopqrstuvwxyz"


def written(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "worker.err"
    path.write_text(text)
    return (str(path),)


def test_only_the_runs_own_lines_are_its_output(tmp_path: Path) -> None:
    files = written(tmp_path, "importing\n:actor_name:m fp32 aa.0\none\n:actor_name:m fp32 bb.0\ntwo\n")
    assert output.printed(files, "bb.0") == "--- worker.err\ntwo\n\n"
    assert output.printed(files, "aa.0") == "", "what another run printed since is not its own"


def test_a_run_that_printed_nothing_has_no_output(tmp_path: Path) -> None:
    assert output.printed(written(tmp_path, ":actor_name:m fp32 aa.0\n\n"), "aa.0") == ""
    assert output.printed((str(tmp_path / "gone"),), "aa.0") == ""


def test_of_long_output_the_end_is_kept_and_the_rest_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MOST_BYTES", 100)
    files = written(tmp_path, ":actor_name:m fp32 aa.0\n" + "x" * 1000 + "\nthe error\n")
    said = output.printed(files, "aa.0")
    assert said.endswith("the error\n\n")
    assert "[... 935 bytes before this ...]" in said
    assert len(said) < 200


def test_half_a_secret_where_long_output_is_cut_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MOST_BYTES", 30)
    files = written(tmp_path, f":actor_name:m fp32 aa.0\ntoken {SECRET}\nthe error\n")
    assert SECRET[-10:] not in output.printed(files, "aa.0")


def test_neither_secrets_nor_escape_codes_are_kept(tmp_path: Path) -> None:
    files = written(tmp_path, f":actor_name:m fp32 aa.0\n\x1b[31mtoken {SECRET}\n")
    said = output.printed(files, "aa.0")
    assert SECRET not in said
    assert "\x1b" not in said
