"""The names of transformers that the driver knows without importing it."""

from pathlib import Path

import pytest

import workers.names
from workers.model.names import names


@pytest.mark.slow  # imports the config of every type of model
def test_they_are_those_of_the_transformers_that_is_installed() -> None:
    held = workers.names.Names.model_validate(names())
    assert held == workers.names.NAMES, "run: python -m workers.model.names > workers/names.json"
    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    assert f"transformers=={held.transformers}" in constraints


def test_every_argument_that_the_sweep_sets_itself_is_one() -> None:
    from orchestrator.config._settings import _FIXED

    known = {f"generate.{name}" for name in workers.names.NAMES.generation}
    known |= {f"load.{name}" for name in workers.names.NAMES.loading}
    gone = {
        "load.load_in_8bit",
        "load.load_in_4bit",
        "load.use_auth_token",
        "generate.streamer",
        "generate.assistant_model",
    }
    assert _FIXED.keys() - gone <= known
