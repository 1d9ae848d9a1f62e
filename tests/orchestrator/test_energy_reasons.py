"""Every reason has its words, in the report and in the documentation."""

import ast
import re
from pathlib import Path

from orchestrator.energy_reasons import SAID, spelled

ROOT = Path(__file__).parents[2]


def test_reasons_are_spelled_out_and_an_unknown_one_stands_as_it_is() -> None:
    assert spelled(["no_gpu", "nvml_error_999"]) == "no GPU was used, nvml_error_999"
    assert spelled([]) == ""


def test_the_documentation_explains_the_same_reasons() -> None:
    section = (ROOT / "docs" / "energy.md").read_text().partition("## Reasons")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} - {"nvml_error_N"} == set(SAID)


def test_every_reason_that_the_code_gives_is_known() -> None:
    words = {
        node.value
        for file in [*(ROOT / "workers" / "energy").glob("*.py"), ROOT / "orchestrator" / "energy_union.py"]
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(SAID) <= words  # none is spelled out that nothing gives
    given = {match for file in (ROOT / "workers" / "energy").glob("*.py") for match in _given(file.read_text())}
    assert given <= set(SAID)


def _given(text: str) -> list[str]:
    """The literal arguments of `CardFault`."""
    return re.findall(r'CardFault\("(\w+)"\)', text)
