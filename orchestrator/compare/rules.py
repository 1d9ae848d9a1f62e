"""The rules of a comparison, as set on the command line."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How certain and how large a finding must be, and what may differ."""

    threshold: float
    """Relative loss beyond which a worse figure fails."""
    false_alarms: float = 0.01
    """Largest share of reports without a real change that contain a false finding."""
    burst_s: float = 60.0
    """The longest expected burst of load on the machine: repeats that all began within one prove nothing. Unit: s."""
    across: frozenset[str] = frozenset()
    """Facets that may differ."""
    allow_gone: bool = False
    """Whether cells may be gone from the candidate."""
    recent: int = 5
    """A change in a history fails while it is at most this many snapshots old."""
