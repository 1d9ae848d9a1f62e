"""The nightly gate: what got worse between two nights, or over many, and how sure that is.

Data flows one way: Parquet -> `night` (what one night says of each cell) -> `gate` (two nights) or `history` (many)
-> `verdicts` (records) -> `text`, `markdown` or JSON. The statistics stand in `noise` and `changes` and know nothing of
cells; which figures there are, and what forbids comparing them, stands in `figures`. Maths: `docs/nightly.md`.
"""

from orchestrator.compare.cli import main

__all__ = ["main"]
