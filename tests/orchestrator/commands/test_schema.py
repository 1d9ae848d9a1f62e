"""The JSON Schema: the shipped file is current, and it accepts what `config.load` accepts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator import __main__, config, grid
from orchestrator.commands import schema

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SCHEMA = json.loads(schema.text())


def mapping(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def test_the_shipped_schema_is_the_generated_one() -> None:
    command = "run: python -m orchestrator schema > orchestrator/sweep.schema.json"
    assert schema.SHIPPED.read_text(encoding="utf-8") == schema.text(), command


def test_the_command_prints_the_shipped_file_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["schema"]) == 0
    assert capsys.readouterr() == (schema.SHIPPED.read_text(encoding="utf-8"), "")


def test_the_schema_names_its_draft_and_is_valid() -> None:
    assert jsonschema.validators.validator_for(SCHEMA, default=None) is jsonschema.Draft202012Validator
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_of_a_sweep_is_documented() -> None:
    records = {"": SCHEMA} | SCHEMA["$defs"]
    undocumented = [
        f"{name}.{key}"
        for name, record in records.items()
        for key, field in record.get("properties", {}).items()
        if "description" not in field
    ]
    assert undocumented == []


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_valid_and_points_to_the_schema(file: Path) -> None:
    jsonschema.validate(mapping(file), SCHEMA)
    assert grid.expand(config.load(file))
    first, *rest = file.read_text(encoding="utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=../orchestrator/sweep.schema.json"
    assert any(f"examples/{file.name}" in line for line in rest[:12]), "its opening comment says how to run it"


@pytest.mark.parametrize(
    "name",
    [
        "misspelt_key", "misspelt_axis", "misspelt_precision", "misspelt_attention", "misspelt_nested_key",
        "wrong_types", "negative_numbers", "empty_grid", "no_models", "list_at_the_top", "axis_at_the_top",
        "nested_options", "name_leaves_the_folder", "value_twice", "misspelt_order", "empty_rule",
    ],
)  # fmt: skip
def test_an_editor_flags_what_the_program_refuses(name: str) -> None:
    data = mapping(ROOT / "tests" / "orchestrator" / "config" / "bad_sweeps" / f"{name}.yaml")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)
