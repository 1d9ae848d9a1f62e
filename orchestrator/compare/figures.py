"""The figures that snapshots are compared by: which way is better, and what must match for a comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Row = Mapping[str, Any]
"""One row of `results.parquet`, by column."""

_MACHINE = ("device", "card", "driver")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A headline figure with one value per repeat."""

    name: str
    """As in the `<name>_over_repeats_` columns."""
    unit: str
    better: Literal["higher", "lower"]
    must_match: tuple[str, ...]
    """Facets (keys of `FACETS`) that must be equal for a comparison."""
    slowed_by_load: bool = True
    """Whether other load on the machine makes it worse."""
    not_applicable: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By facet, values under which the figure does not apply to a cell and is left out."""

    def loss(self, ratio: float) -> float:
        """Relative loss of the candidate; negative if it is better. `ratio` is candidate / baseline."""
        return 1 - ratio if self.better == "higher" else ratio - 1


FIGURES: tuple[Figure, ...] = (
    Figure(name="output_tokens_per_s", unit="tokens/s", better="higher", must_match=(*_MACHINE, "timing-method")),
    Figure(name="ttft_s", unit="s", better="lower", must_match=(*_MACHINE, "timing-method")),
    Figure(name="tpot_s", unit="s", better="lower", must_match=(*_MACHINE, "timing-method")),
    Figure(name="e2e_s", unit="s", better="lower", must_match=(*_MACHINE, "timing-method")),
    Figure(
        name="energy_per_output_token_j",
        unit="J/token",
        better="lower",
        must_match=(*_MACHINE, "energy-method", "energy-confidence"),
    ),
    # The allocator counts the same bytes with any driver. The resident set of a CPU process depends on the runs before.
    Figure(
        name="peak_memory_mb",
        unit="MB",
        better="lower",
        must_match=("device", "card", "memory-method"),
        slowed_by_load=False,
        not_applicable={"memory-method": frozenset({"process_rss"})},
    ),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A figure without repeats, exact or nearly so. A change is reported and does not fail."""

    name: str
    tolerance: float
    """Largest relative change that is ignored."""
    must_match: tuple[str, ...]


FACTS: tuple[Fact, ...] = (
    Fact(name="flops_value", tolerance=1e-9, must_match=("flops-method", "flops-confidence")),
    # The order of summation on a GPU changes the last digits of a perplexity.
    Fact(name="perplexity", tolerance=1e-3, must_match=()),
)


def _card(row: Row) -> str | None:
    """The GPUs; on a CPU, the processor and its number of threads."""
    if row["gpu_names"]:
        return " + ".join(sorted(row["gpu_names"]))
    return f"{row['cpu_name']} x {row['cpu_threads']} threads" if row["cpu_name"] else None


FACETS: dict[str, Callable[[Row], str | None]] = {
    "device": lambda row: row["device"],
    "card": _card,
    "driver": lambda row: row["driver_version"],
    "timing-method": lambda row: row["timing_method"],
    "energy-method": lambda row: row["energy_method"],
    "energy-confidence": lambda row: row["energy_confidence"],
    "memory-method": lambda row: row["memory_method"],
    "flops-method": lambda row: row["flops_method"],
    "flops-confidence": lambda row: row["flops_confidence"],
}
"""What `--across` accepts, and how to read it from a row."""

MIXED = "mixed"
"""The word of `--across` for cells whose own runs differ from one another (column `mixed`)."""

MIXED_FACETS: dict[str, str] = {
    "gpu_names": "card",
    "driver_version": "driver",
    "energy_method": "energy-method",
    "flops_method": "flops-method",
    "wall_clocks": "timestamps",
}
"""The facet for each word of the column `mixed`. Other words affect every figure; timestamps affect none."""

STATED: dict[str, str] = {
    "torch": "torch_version",
    "transformers": "transformers_version",
    "CUDA": "cuda_version",
    "quantiser": "quantiser_version",
    "Python": "python_version",
    "joulegrid": "joulegrid_version",
    "platform": "platform",
    "host": "host",
    "GPU specimen": "gpu_uuids",
}
"""What is reported if it differs. It does not prevent a comparison: these are the changes that a nightly run tests."""
