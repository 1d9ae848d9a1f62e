from pathlib import Path

from orchestrator.results.columns import columns
from orchestrator.results.columns_doc import document
from orchestrator.results.rows import AggregatedResult, RawRow

DOC = Path(__file__).parents[3] / "docs" / "columns.md"


def test_the_document_is_what_the_records_say() -> None:
    assert DOC.read_text(encoding="utf-8") == document(), (
        "run: python -m orchestrator.results.columns_doc > docs/columns.md"
    )


def test_every_column_stands_there_with_a_sentence() -> None:
    lines = document().splitlines()
    for model in (AggregatedResult, RawRow):
        for column in columns(model):
            matching = [line for line in lines if line.startswith(f"| `{column.name}` |")]
            assert matching, column.name
            silent = [line for line in matching if not line.rstrip(" |").split("|")[-1].strip().endswith(".")]
            assert not silent, f"{column.name} has no sentence"
