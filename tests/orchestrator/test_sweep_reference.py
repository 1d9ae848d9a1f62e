import re
from pathlib import Path

import yaml

from orchestrator import config, plan
from orchestrator.config.reference import document
from workers.records import Cell, Warmup, Window

DOC = Path(__file__).parents[2] / "docs" / "sweep-file.md"


def test_the_document_is_what_the_models_say() -> None:
    assert DOC.read_text(encoding="utf-8") == document(), (
        "run: python -m orchestrator.config.reference > docs/sweep-file.md"
    )


def test_every_key_stands_there_with_a_sentence() -> None:
    records = (config.SweepFile, config.ModelEntry, config.Prompts, config.QualityText, config.Placement,
               config.Emissions, config.Shuffled, Warmup, Window)  # fmt: skip
    keys = [key for record in records for key in record.model_fields] + list(config.AXES)
    rows = [line for line in document().splitlines() if line.startswith("| `")]
    for key in keys:
        found = [row.split(" | ") for row in rows if row.startswith(f"| `{key}` |")]
        assert found, key
        assert all(row[-1].rstrip(" |").endswith(".") for row in found), f"{key} has no sentence"


def test_a_default_is_the_one_that_cells_have() -> None:
    said = re.search(r"^\| `input_tokens` \| .* \| `(\d+)` \|", document(), re.MULTILINE)
    assert said is not None
    assert int(said[1]) == Cell.model_fields["input_tokens"].default


def test_the_opening_counts_its_example_right() -> None:
    example = re.search(r"```yaml\n(.*?)```", document(), re.DOTALL)
    assert example is not None
    cells = plan.expand(config.from_mapping(yaml.safe_load(example[1])))
    assert f"= {len(cells)} cells" in document()


def test_every_link_leads_to_a_heading_of_the_page() -> None:
    headings = set(re.findall(r"^## `?(\w+)`?$", document(), re.MULTILINE))
    assert set(re.findall(r"\]\(#(\w+)\)", document())) <= {heading.lower() for heading in headings}
