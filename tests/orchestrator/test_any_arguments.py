"""Whatever the arguments, each command ends with its own exit code and a readable message."""

from pathlib import Path

import pytest

from orchestrator.__main__ import main
from orchestrator.commands import doctor

LONG = "x" * 5000
PATHS = [
    "",
    LONG,
    "~nobody-of-that-name/x",
    "caf\udce9",
    "s3://",
    "x://y",
    "://",
    "/dev/null",
    "/",
    "\x1b[31m",
]
NUMBERS = ["-1", "0", "nan", "1e999", "", "9" * 5000, "\ud800"]
SHAPE = ["--batch-size", "1", "--input-tokens", "1", "--output-tokens", "1"]


def ended(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as error:  # from argparse
        return int(error.code or 0)


@pytest.mark.parametrize("path", PATHS, ids=ascii)
@pytest.mark.parametrize("words", [[], ["plan"], ["report"], ["compare", "x"], ["compare", "--history"]], ids=" ".join)
def test_a_path_that_does_not_exist_is_one_line(words, path, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(*words, path) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert 0 < len(output.err) < 2500
    assert output.err.count("\n") == 1 or not path


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"{}\0", b"\xff", b"[]", b""])
def test_a_file_that_is_not_a_config_is_one_line(content, tmp_path, capsys) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert ended("estimate", str(tmp_path / "config.json"), *SHAPE) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_long_name_of_a_model_is_one_line(capsys) -> None:
    assert ended("estimate", LONG, *SHAPE) == 2
    assert capsys.readouterr().err == f"estimate: {'x' * 200}: File name too long\n"


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: ascii(number)[:20])
@pytest.mark.parametrize("option", ["--batch-size", "--input-tokens", "--output-tokens"])
def test_an_invalid_number_of_tokens_is_an_error_of_the_command_line(option, number, capsys) -> None:
    assert ended("estimate", "llama", *SHAPE, option, number) == 2


def test_the_doctor_reports_an_output_folder_that_cannot_exist() -> None:
    found = doctor._disk(Path(LONG))
    assert (found.level, found.found) == ("broken", f"{'x' * 200}: File name too long")
