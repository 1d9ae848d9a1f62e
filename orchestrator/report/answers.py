"""Which precision is fastest and which is cheapest, among comparable cells only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.report.quantities import ENERGY, THROUGHPUT, Figure, Quantity, Row
from orchestrator.results.labels import workload


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells with the same model, workload and devices, so that their tokens compare."""

    model: str
    input_tokens: int
    output_tokens: int
    options: str
    """Generation and loading options that change the work or the model; empty if there are none."""
    device: str
    members: tuple[int, ...]
    """Row indices."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best cell for one figure within a group."""

    index: int
    figure: Figure
    rival: int | None = None
    """Row of the best cell of another precision, if the difference from it is not significant; else null."""
    doubt: str = ""
    """Why the difference is not significant."""


def device(row: Row) -> str:
    """What the cell ran on: its cards with their count, or the processor."""
    names = row["gpu_names"]
    if not names:
        return row["cpu_name"] or row["device"] or "no device"
    counts = {name: list(names).count(name) for name in names}
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def groups(rows: Sequence[Row]) -> list[Group]:
    """Groups of comparable cells that have results, in the rows' order."""
    members_by_key: dict[tuple[str, int, int, str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row["repeats_ok"]:
            key = (row["model"], row["input_tokens"], row["output_tokens"], workload(row), device(row))
            members_by_key.setdefault(key, []).append(i)
    return [
        Group(model=model, input_tokens=prompt, output_tokens=new, options=options, device=on, members=tuple(members))
        for (model, prompt, new, options, on), members in members_by_key.items()
    ]


def fastest(rows: Sequence[Row], members: Sequence[int]) -> Best | None:
    """Most output tokens/s."""
    return _best(rows, members, THROUGHPUT, lambda value: -value)


def cheapest(rows: Sequence[Row], members: Sequence[int]) -> Best | None:
    """Fewest J/token."""
    return _best(rows, members, ENERGY, lambda value: value)


def by_precision(rows: Sequence[Row], group: Group) -> dict[str, list[int]]:
    """The group's row indices by precision, in the rows' order."""
    members: dict[str, list[int]] = {}
    for i in group.members:
        members.setdefault(rows[i]["precision"], []).append(i)
    return members


def pareto(points: Sequence[tuple[float, float, int]]) -> list[int]:
    """Rows that no other row beats in both coordinates, in ascending `x`.

    Args:
        points: (x, y, row) of each. A larger `x` and a smaller `y` are better.
    """
    front: list[int] = []
    lowest = float("inf")
    for _, y, row in sorted(points, key=lambda point: (-point[0], point[1])):
        if y < lowest:
            lowest = y
            front.append(row)
    return front[::-1]


def _best(
    rows: Sequence[Row], members: Sequence[int], quantity: Quantity, cost: Callable[[float], float]
) -> Best | None:
    figures = {i: quantity.of(rows[i]) for i in members}
    ranked = sorted((cost(figure.value), i) for i, figure in figures.items() if figure.value is not None)
    if not ranked:
        return None
    winner = ranked[0][1]
    others = [i for _, i in ranked if rows[i]["precision"] != rows[winner]["precision"]]
    doubt = _doubt(figures[winner], figures[others[0]]) if others else ""
    return Best(index=winner, figure=figures[winner], rival=others[0] if doubt else None, doubt=doubt)


def _doubt(first: Figure, second: Figure) -> str:
    """Why two figures do not differ significantly; empty if their 95 % intervals are apart.

    An interval over repeats leaves out the meters' own uncertainty. Two windows may err in opposite directions, so it
    widens both intervals.
    """
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return "not both have an interval"
    gap = max(first.low - second.high, second.low - first.high)
    if gap <= 0:
        return "the intervals overlap"
    return "the difference is within the meters' uncertainty" if gap <= first.meter + second.meter else ""
