import re
from pathlib import Path

import yaml

from orchestrator import config, grid
from orchestrator.config.reference import document
from workers.records import Cell, Warmup, Window

DOC = Path(__file__).parents[3] / "docs" / "sweep-file.md"


def test_the_page_is_generated_from_the_models() -> None:
    assert DOC.read_text(encoding="utf-8") == document(), (
        "run: python -m orchestrator.config.reference > docs/sweep-file.md"
    )


def test_every_key_is_on_the_page_with_a_sentence() -> None:
    records = (config.SweepFile, config.ModelEntry, config.Prompts, config.QualityText, config.Placement,
               config.Emissions, config.Shuffled, Warmup, Window)  # fmt: skip
    keys = [key for record in records for key in record.model_fields] + list(config.AXES)
    rows = [line for line in document().splitlines() if line.startswith("| `")]
    for key in keys:
        matching = [row.split(" | ") for row in rows if row.startswith(f"| `{key}` |")]
        assert matching, key
        assert all(row[-1].rstrip(" |").endswith(".") for row in matching), f"{key} has no sentence"


def test_a_setting_has_the_default_of_the_cell() -> None:
    default = re.search(r"^\| `input_tokens` \| .* \| `(\d+)` \|", document(), re.MULTILINE)
    assert default is not None
    assert int(default[1]) == Cell.model_fields["input_tokens"].default


def test_the_opening_counts_the_cells_of_its_example() -> None:
    example = re.search(r"```yaml\n(.*?)```", document(), re.DOTALL)
    assert example is not None
    cells = grid.expand(config.from_mapping(yaml.safe_load(example[1])))
    assert f"= {len(cells)} cells" in " ".join(document().split())


def test_every_link_points_to_a_heading_of_the_page() -> None:
    headings = set(re.findall(r"^## `?(\w+)`?$", document(), re.MULTILINE))
    assert set(re.findall(r"\]\(#(\w+)\)", document())) <= {heading.lower() for heading in headings}
