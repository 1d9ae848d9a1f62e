"""The command line: its help and its messages for wrong arguments."""

import signal

import pytest

from orchestrator import __main__ as command_line
from orchestrator import sweep
from orchestrator.__main__ import COMMANDS, main, program
from orchestrator.interrupt import Interrupted


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_its_own_help(word, capsys):
    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: python -m orchestrator {word}")
    assert "`" not in output, "a help text is not Markdown"


def test_the_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for word, (_, text) in COMMANDS.items():
        assert f"{word:<10}{text}" in output


def test_no_arguments_print_the_help_and_exit_2(capsys):
    assert main([]) == 2
    assert "other commands" in capsys.readouterr().err


def test_a_misspelt_command_is_one_line_with_a_suggestion(capsys):
    assert main(["pln", "sweep.yaml"]) == 2
    assert capsys.readouterr().err == "pln: neither a file nor a command; did you mean 'plan'?\n"


def test_a_misspelt_file_is_one_line_with_a_suggestion(tmp_path, capsys):
    (tmp_path / "sweep.yaml").touch()
    assert main([str(tmp_path / "swep.yaml")]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "did you mean 'sweep.yaml'?" in output


@pytest.mark.parametrize("argv", [["compare", "a", "b"], ["plan", "sweep.yaml"]])
def test_a_broken_installation_has_its_own_exit_code_and_a_traceback(argv, capfd, monkeypatch):
    def broken(name):
        raise ImportError(f"{name}: libopenblas.so.0 is missing")

    monkeypatch.setattr(command_line, "import_module", broken)
    assert program(argv) == 70
    output = capfd.readouterr().err
    assert output.startswith("Traceback")
    assert output.endswith("libopenblas.so.0 is missing\n")


def test_the_command_to_continue_has_the_same_flags(tmp_path, capsys, monkeypatch):
    def stopped(*_args, **_options):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(sweep, "run", stopped)
    file = tmp_path / "sweep.yaml"
    file.write_text("{name: s, models: [{name: m, config: {model_type: gpt2}}], precisions: [fp32]}")
    assert main([str(file), "--fresh", "--retry-failed", "--fail-on-skipped"]) == 130
    command = f"python -m orchestrator {file} --retry-failed --fail-on-skipped"
    assert capsys.readouterr().err == f"stopped; to continue: {command}\n"
