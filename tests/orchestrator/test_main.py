"""The command line's face: what it says to whom does not know it yet."""

import signal

import pytest

from orchestrator import __main__ as command_line
from orchestrator import sweep
from orchestrator.__main__ import COMMANDS, main, program
from orchestrator.interrupt import Interrupted


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_a_help_of_its_own(word, capsys):
    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m orchestrator {word}")
    assert "`" not in said, "a help text is no Markdown"


def test_the_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word, (_, what) in COMMANDS.items():
        assert f"{word:<10}{what}" in said


def test_nothing_asked_is_the_help_and_exit_2(capsys):
    assert main([]) == 2
    assert "other commands" in capsys.readouterr().err


def test_a_misspelt_command_is_one_line_with_the_nearest(capsys):
    assert main(["pln", "sweep.yaml"]) == 2
    assert capsys.readouterr().err == "pln: neither a file nor a command; did you mean 'plan'?\n"


def test_a_misspelt_file_is_one_line_with_the_nearest(tmp_path, capsys):
    (tmp_path / "sweep.yaml").touch()
    assert main([str(tmp_path / "swep.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "did you mean 'sweep.yaml'?" in said


@pytest.mark.parametrize("argv", [["compare", "a", "b"], ["plan", "sweep.yaml"]])
def test_a_fault_of_the_installation_is_no_regression_and_has_its_traceback(argv, capfd, monkeypatch):
    def broken(name):
        raise ImportError(f"{name}: libopenblas.so.0 is missing")

    monkeypatch.setattr(command_line, "import_module", broken)
    assert program(argv) == 70
    said = capfd.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith("libopenblas.so.0 is missing\n")


def test_the_command_that_goes_on_asks_for_the_same_exit_codes(tmp_path, capsys, monkeypatch):
    def stopped(*_args, **_options):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(sweep, "run", stopped)
    file = tmp_path / "sweep.yaml"
    file.write_text("{name: s, models: [{name: m, config: {model_type: gpt2}}], precisions: [fp32]}")
    assert main([str(file), "--fresh", "--retry-failed", "--fail-on-skipped"]) == 130
    command = f"python -m orchestrator {file} --retry-failed --fail-on-skipped"
    assert capsys.readouterr().err == f"stopped; to go on: {command}\n"
