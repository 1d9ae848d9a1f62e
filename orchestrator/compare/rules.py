"""By what rules nights are judged: what the command line may set."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How sure a finding has to be, how large, and what may differ."""

    threshold: float
    """Relative loss beyond which a worse figure fails."""
    false_alarms: float = 0.01
    """Share of nights (histories) without any real change that may hold a false finding, at most."""
    burst_s: float = 60.0
    """The longest burst of load on the machine that may not pass for a change: repeats that all began within one are no
    proof. Unit: s."""
    across: frozenset[str] = frozenset()
    """Facets whose differences forbid nothing."""
    allow_gone: bool = False
    """Whether cells that vanished fail nothing."""
    recent: int = 5
    """A change in a history fails while it is at most this many nights old."""
