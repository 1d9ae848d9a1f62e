"""The figures that nights are compared by: which way is better, and what must be equal for a comparison to mean one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Row = Mapping[str, Any]
"""One row of `results.parquet`, by column."""

_MACHINE = ("device", "card", "driver")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A headline figure with a value of each repeat."""

    name: str
    """As in the `<name>_over_repeats_` columns."""
    unit: str
    better: Literal["higher", "lower"]
    must_match: tuple[str, ...]
    """Facets (keys of `FACETS`) that forbid a comparison where they differ."""
    slowed_by_load: bool = True
    """Whether other load on the machine makes it worse."""
    not_judged: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By facet, values under which the figure says nothing of the cell: it is then left out altogether."""

    def loss(self, ratio: float) -> float:
        """How much worse the candidate's figure is, relative to the baseline's; negative where it is better."""
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
    # The allocator counts bytes, whichever driver maps them. A CPU process's resident set also holds what earlier runs
    # left behind: it differs with the order of the cells.
    Figure(
        name="peak_memory_mb",
        unit="MB",
        better="lower",
        must_match=("device", "card", "memory-method"),
        slowed_by_load=False,
        not_judged={"memory-method": frozenset({"process_rss"})},
    ),
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A figure without repeats: exact, or nearly so. A change is stated and fails nothing."""

    name: str
    tolerance: float
    """Relative change that counts as none."""
    must_match: tuple[str, ...]


FACTS: tuple[Fact, ...] = (
    Fact(name="flops_value", tolerance=1e-9, must_match=("flops-method", "flops-confidence")),
    # The order of a GPU's sums moves the last digits of a perplexity, nothing more.
    Fact(name="perplexity", tolerance=1e-3, must_match=()),
)


def _card(row: Row) -> str | None:
    """The cards, or on a CPU the processor and its threads: both are what the figures depend on."""
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
"""What `--across` can lift, and where a row says it."""

MIXED = "mixed"
"""The word of `--across` for rows whose own runs differ from one another (column `mixed`)."""

MIXED_FACETS: dict[str, str] = {
    "gpu_names": "card",
    "driver_version": "driver",
    "energy_method": "energy-method",
    "flops_method": "flops-method",
    "wall_clocks": "timestamps",
}
"""What the words of the column `mixed` are as facets; other words concern every figure, timestamps none."""

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
"""What may differ and is said: a nightly watches exactly these, so that they do not forbid a comparison."""
