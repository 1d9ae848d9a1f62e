"""Simulated snapshots, as the gate reads them."""

from orchestrator.compare.figures import FACETS, FACTS, STATED
from orchestrator.compare.snapshot import CellSnapshot, Sample
from orchestrator.compare.verdicts import CellRef


def simulated_cell(cell_id: str, samples: dict[str, Sample]) -> CellSnapshot:
    """A cell whose figures alone matter; everything else is equal in all snapshots."""
    return CellSnapshot(
        ref=CellRef(cell_id=cell_id, label=cell_id),
        ok=True,
        failure="",
        samples=samples,
        missing={},
        facts=dict.fromkeys((fact.name for fact in FACTS), None),
        facets=dict.fromkeys(FACETS, "same"),
        stated=dict.fromkeys(STATED, "same"),
        mixed=(),
    )
