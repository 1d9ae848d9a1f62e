"""Which samples of two snapshots can be compared, and what differs where they cannot."""

from collections import Counter
from collections.abc import Collection, Iterable

from orchestrator.compare.figures import MIXED, MIXED_FACETS, Figure
from orchestrator.compare.snapshot import CellSnapshot


def obstacle(figure: Figure, baseline: CellSnapshot, candidate: CellSnapshot, across: Collection[str]) -> str | None:
    """Why this figure of this cell cannot be compared between the snapshots; None if it can."""
    without = [cell for cell in (baseline, candidate) if not applies(figure, cell)]
    if without:
        (facet,) = [facet for facet, values in figure.not_applicable.items() if without[0].facets[facet] in values]
        return f"{facet}: {baseline.facets[facet] or 'unknown'} -> {candidate.facets[facet] or 'unknown'}"
    if figure.name not in baseline.samples and figure.name not in candidate.samples:
        why = {baseline.missing[figure.name], candidate.missing[figure.name]}
        return f"no value in either snapshot ({' / '.join(sorted(why))})"
    for snapshot, cell in (("baseline", baseline), ("candidate", candidate)):
        if figure.name not in cell.samples:
            return f"no value in the {snapshot} ({cell.missing[figure.name]})"
    for snapshot, cell in (("baseline", baseline), ("candidate", candidate)):
        mixed = _mixed(figure, cell, across)
        if mixed:
            return f"{MIXED}: the cell's runs in the {snapshot} differ ({', '.join(mixed)})"
    return differences(figure.must_match, baseline, candidate, across)


def applies(figure: Figure, cell: CellSnapshot) -> bool:
    """Whether the figure applies to this cell."""
    return figure.name in cell.samples or figure.name in cell.missing


def differences(
    facets: Iterable[str], before: CellSnapshot, after: CellSnapshot, across: Collection[str]
) -> str | None:
    """The facets that differ, each with its two values; None if none does."""
    differing = [
        f"{facet}: {before.facets[facet] or 'unknown'} -> {after.facets[facet] or 'unknown'}"
        for facet in facets
        if facet not in across and before.facets[facet] != after.facets[facet]
    ]
    return ", ".join(differing) or None


def key(figure: Figure, cell: CellSnapshot, across: Collection[str]) -> tuple[str | None, ...]:
    """What must be equal for the snapshots of one figure to form one series."""
    return (
        *(cell.facets[facet] for facet in figure.must_match if facet not in across),
        *_mixed(figure, cell, across),
    )


def _mixed(figure: Figure, cell: CellSnapshot, across: Collection[str]) -> list[str]:
    """What differs between the cell's own runs and affects this figure, so that their mean is meaningless."""
    if MIXED in across:
        return []
    facets = {word: MIXED_FACETS.get(word) for word in cell.mixed}
    return [word for word, facet in facets.items() if facet is None or facet in {*figure.must_match} - {*across}]


def stated(pairs: Iterable[tuple[CellSnapshot, CellSnapshot]]) -> tuple[str, ...]:
    """Differences between the pairs that do not prevent a comparison, each with its number of cells."""
    counts = Counter(
        f"{name} {before.stated[name] or 'unknown'} -> {after.stated[name] or 'unknown'}"
        for before, after in pairs
        for name in before.stated
        if before.stated[name] != after.stated[name]
    )
    return tuple(f"{change} ({n} {'cell' if n == 1 else 'cells'})" for change, n in counts.most_common())
