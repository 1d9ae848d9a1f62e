"""Snapshots as a sweep writes them: records of the project as Parquet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.results import columns
from orchestrator.results.rows import AggregatedResult


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(6)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, list[AggregatedResult]], str]:
    """Write rows as a results folder and return its path."""

    def written(name: str, rows: list[AggregatedResult]) -> str:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        pq.write_table(columns.table(AggregatedResult, rows), folder / "results.parquet")
        return str(folder)

    return written
