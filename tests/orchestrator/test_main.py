"""The command line's face: what it says to whom does not know it yet."""

import pytest

from orchestrator.__main__ import COMMANDS, main


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
