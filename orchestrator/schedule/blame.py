"""Who is to blame when processes are lost: the node, or the cell that kills every process it is given. Pure."""

from collections import Counter, defaultdict


class Blame:
    """Losses in a row by node. A cell counts against a node once, and not at all once it was lost on another too.

    Args:
        most: Losses after which a node is set aside.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cells: dict[str, set[str]] = defaultdict(set)
        self._starts: Counter[str] = Counter()
        self._lost_on: dict[str, set[str]] = defaultdict(set)

    def went_well(self, node: str) -> None:
        """A process on the node has delivered: the row of losses is broken."""
        self._cells.pop(node, None)
        self._starts.pop(node, None)

    def lost(self, cell_id: str, node: str) -> None:
        """A process was lost on the node in the middle of a cell."""
        nodes = self._lost_on[cell_id]
        nodes.add(node)
        if len(nodes) == 1:
            self._cells[node].add(cell_id)
            return
        for each in nodes:  # it dies wherever it goes
            self._cells[each].discard(cell_id)

    def did_not_start(self, node: str) -> None:
        """A process on the node ended before it was given anything."""
        self._starts[node] += 1

    def losses(self, node: str) -> int:
        """Losses in a row that are the node's."""
        return len(self._cells[node]) + self._starts[node]

    def is_unfit(self, node: str, *, alone: bool) -> bool:
        """Whether to set the node aside. The only node left stays, as long as processes start there at all."""
        return (self._starts[node] if alone else self.losses(node)) >= self._most
