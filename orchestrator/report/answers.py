"""Which precision is fastest, and which cheapest: only among cells that may be compared at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.labels import workload
from orchestrator.report.figures import ENERGY, THROUGHPUT, Figure, Quantity, Row


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells with one model, one workload and one kind of device: the ones whose tokens mean the same."""

    model: str
    input_tokens: int
    output_tokens: int
    options: str
    """Options of generation and loading that bend the work or the model; empty without any."""
    device: str
    members: tuple[int, ...]
    """Row indices."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best cell for one figure within a group."""

    index: int
    figure: Figure
    rival: int | None = None
    """Row of the best cell of another precision, where it cannot be told apart from this one; null where it can."""
    doubt: str = ""
    """Why it cannot."""


def device(row: Row) -> str:
    """What the cell ran on: its cards with their number, or the processor."""
    names = row["gpu_names"]
    if not names:
        return row["cpu_name"] or row["device"] or "no device"
    counts = {name: list(names).count(name) for name in names}
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def groups(rows: Sequence[Row]) -> list[Group]:
    """Comparable cells that have figures, in the rows' order."""
    found: dict[tuple[str, int, int, str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row["repeats_ok"]:
            key = (row["model"], row["input_tokens"], row["output_tokens"], workload(row), device(row))
            found.setdefault(key, []).append(i)
    return [
        Group(
            model=model, input_tokens=prompt, output_tokens=new, options=options, device=where, members=tuple(members)
        )
        for (model, prompt, new, options, where), members in found.items()
    ]


def fastest(rows: Sequence[Row], members: Sequence[int]) -> Best | None:
    """Most output tokens/s."""
    return _best(rows, members, THROUGHPUT, lambda value: -value)


def cheapest(rows: Sequence[Row], members: Sequence[int]) -> Best | None:
    """Fewest J/token."""
    return _best(rows, members, ENERGY, lambda value: value)


def by_precision(rows: Sequence[Row], group: Group) -> dict[str, list[int]]:
    """The group's rows by precision, in their order."""
    found: dict[str, list[int]] = {}
    for i in group.members:
        found.setdefault(rows[i]["precision"], []).append(i)
    return found


def pareto(points: Sequence[tuple[float, float, int]]) -> list[int]:
    """Rows that no other beats in both: `x` is better when larger, `y` when smaller. In ascending `x`.

    Points are (x, y, row). From the right, a point belongs to the front if it is lower than all that went before.
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
    """Why two figures cannot be told apart; empty where their 95 % intervals are clear of each other.

    The meters' own uncertainty is no part of an interval over repeats, and each meter's window may err its own way: it
    widens both intervals.
    """
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return "there is no interval for both"
    gap = max(first.low - second.high, second.low - first.high)
    if gap <= 0:
        return "the intervals overlap"
    return "the meters are not certain enough" if gap <= first.meter + second.meter else ""
