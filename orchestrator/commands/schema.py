"""`python -m orchestrator schema`: prints the JSON Schema of the sweep file, for editors."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config import SweepFile

SHIPPED = Path(__file__).parents[1] / "sweep.schema.json"
"""The shipped schema, written by `python -m orchestrator schema > orchestrator/sweep.schema.json`."""


def text() -> str:
    """The JSON Schema (draft 2020-12) of the models that check sweep files."""
    schema = SweepFile.model_json_schema()
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "JouleGrid sweep"}
    return json.dumps(schema | heading, indent=2, ensure_ascii=False) + "\n"


def main(argv: Sequence[str]) -> int:
    """Print the schema."""
    description = "Print the JSON Schema of the sweep file. Editors use it to complete and check sweep files."
    argparse.ArgumentParser(prog="python -m orchestrator schema", description=description).parse_args(argv)
    print(text(), end="")
    return 0
