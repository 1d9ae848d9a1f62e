"""Which samples of two nights may be compared, and what differs where they may not."""

from collections import Counter
from collections.abc import Collection, Iterable

from orchestrator.compare.figures import MIXED, MIXED_FACETS, Figure
from orchestrator.compare.night import CellNight


def obstacle(figure: Figure, baseline: CellNight, candidate: CellNight, across: Collection[str]) -> str | None:
    """Why this figure of this cell cannot be compared between the nights; None where it can."""
    unjudged = [cell for cell in (baseline, candidate) if not judges(figure, cell)]
    if unjudged:
        (facet,) = [facet for facet, values in figure.not_judged.items() if unjudged[0].facets[facet] in values]
        return f"{facet}: {baseline.facets[facet] or 'unknown'} -> {candidate.facets[facet] or 'unknown'}"
    if figure.name not in baseline.samples and figure.name not in candidate.samples:
        why = {baseline.missing[figure.name], candidate.missing[figure.name]}
        return f"no figure on either night ({' / '.join(sorted(why))})"
    for night, cell in (("baseline", baseline), ("candidate", candidate)):
        if figure.name not in cell.samples:
            return f"no figure on the {night} ({cell.missing[figure.name]})"
    for night, cell in (("baseline", baseline), ("candidate", candidate)):
        mixture = _mixture(figure, cell, across)
        if mixture:
            return f"{MIXED}: the {night}'s own runs differ ({', '.join(mixture)})"
    return differences(figure.must_match, baseline, candidate, across)


def judges(figure: Figure, cell: CellNight) -> bool:
    """Whether the figure says anything of such a cell."""
    return figure.name in cell.samples or figure.name in cell.missing


def differences(facets: Iterable[str], before: CellNight, after: CellNight, across: Collection[str]) -> str | None:
    """The facets that differ, each with its two values; None where none does."""
    found = [
        f"{facet}: {before.facets[facet] or 'unknown'} -> {after.facets[facet] or 'unknown'}"
        for facet in facets
        if facet not in across and before.facets[facet] != after.facets[facet]
    ]
    return ", ".join(found) or None


def key(figure: Figure, cell: CellNight, across: Collection[str]) -> tuple[str | None, ...]:
    """What must be equal for nights of one figure to be one series."""
    return (
        *(cell.facets[facet] for facet in figure.must_match if facet not in across),
        *_mixture(figure, cell, across),
    )


def _mixture(figure: Figure, cell: CellNight, across: Collection[str]) -> list[str]:
    """What differs among the cell's own runs and matters to this figure: a mean over it is a mean of nothing."""
    if MIXED in across:
        return []
    facets = {word: MIXED_FACETS.get(word) for word in cell.mixed}
    return [word for word, facet in facets.items() if facet is None or facet in {*figure.must_match} - {*across}]


def stated(pairs: Iterable[tuple[CellNight, CellNight]]) -> tuple[str, ...]:
    """What differs between the pairs and forbids nothing, with how many cells it concerns."""
    found = Counter(
        f"{name} {before.stated[name] or 'unknown'} -> {after.stated[name] or 'unknown'}"
        for before, after in pairs
        for name in before.stated
        if before.stated[name] != after.stated[name]
    )
    return tuple(f"{what} ({n} {'cell' if n == 1 else 'cells'})" for what, n in found.most_common())
