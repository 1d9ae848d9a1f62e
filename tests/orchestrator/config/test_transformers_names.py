"""The names of transformers' options and model types, known without importing it."""

from pathlib import Path

import pytest

import orchestrator.config.transformers_names
from workers.engines.transformers.list_names import names


@pytest.mark.slow  # imports the config of every type of model
def test_the_names_are_those_of_the_installed_transformers() -> None:
    held = orchestrator.config.transformers_names.Names.model_validate(names())
    assert held == orchestrator.config.transformers_names.NAMES, (
        "run: python -m workers.engines.transformers.list_names > orchestrator/config/transformers_names.json"
    )
    constraints = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    assert f"transformers=={held.transformers}" in constraints


def test_every_option_that_joulegrid_sets_itself_exists() -> None:
    from orchestrator.config.settings import _FIXED

    known = {f"generate.{name}" for name in orchestrator.config.transformers_names.NAMES.generation}
    known |= {f"load.{name}" for name in orchestrator.config.transformers_names.NAMES.loading}
    removed = {
        "load.load_in_8bit",
        "load.load_in_4bit",
        "load.use_auth_token",
        "generate.streamer",
        "generate.assistant_model",
    }
    assert _FIXED.keys() - removed <= known
