"""`python -m orchestrator schema`: the JSON Schema of the sweep file, by which editors complete and check it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from orchestrator.config import SweepFile

SHIPPED = Path(__file__).with_name("sweep.schema.json")
"""The schema as it is shipped; made by `python -m orchestrator schema > orchestrator/sweep.schema.json`."""


def text() -> str:
    """The JSON Schema (draft 2020-12), made from the models that check sweep files."""
    schema = SweepFile.model_json_schema()
    heading = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "JouleGrid sweep"}
    return json.dumps(schema | heading, indent=2, ensure_ascii=False) + "\n"


def main(argv: Sequence[str]) -> int:
    """Print the schema."""
    said = "Print the JSON Schema of the sweep file, by which editors complete and check it."
    argparse.ArgumentParser(prog="python -m orchestrator schema", description=said).parse_args(argv)
    print(text(), end="")
    return 0
