"""Whatever stands on the command line, each command ends with an exit code of its own and words that can be read."""

from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.__main__ import main

LONG = "x" * 5000
PLACES = [
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


@pytest.mark.parametrize("place", PLACES, ids=ascii)
@pytest.mark.parametrize("words", [[], ["plan"], ["report"], ["compare", "x"], ["compare", "--history"]], ids=" ".join)
def test_no_place_that_there_is_not_is_more_than_one_line(words, place, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(*words, place) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert 0 < len(said.err) < 2500
    assert said.err.count("\n") == 1 or not place


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}", b"{}\0", b"\xff", b"[]", b""])
def test_a_file_that_is_no_config_is_one_line(content, tmp_path, capsys) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert ended("estimate", str(tmp_path / "config.json"), *SHAPE) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_long_name_of_a_model_is_one_line(capsys) -> None:
    assert ended("estimate", LONG, *SHAPE) == 2
    assert capsys.readouterr().err == f"estimate: {'x' * 200}: File name too long\n"


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: ascii(number)[:20])
@pytest.mark.parametrize("option", ["--batch-size", "--input-tokens", "--output-tokens"])
def test_what_is_no_number_of_tokens_is_an_error_of_the_command_line(option, number, capsys) -> None:
    assert ended("estimate", "llama", *SHAPE, option, number) == 2


def test_the_doctor_says_where_no_results_can_go() -> None:
    found = doctor._disk(Path(LONG))
    assert (found.level, found.found) == ("broken", f"{'x' * 200}: File name too long")
