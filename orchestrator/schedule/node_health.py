"""Whether lost processes are the fault of their node, or of a cell that kills every process. Pure."""

from collections import Counter, defaultdict


class NodeHealth:
    """Failures in a row by node. A cell counts against a node once; one that was lost on two nodes counts against none.

    Args:
        max_losses: Failures in a row after which a node is quarantined.
    """

    def __init__(self, max_losses: int) -> None:
        self._max_losses = max_losses
        self._cells: dict[str, set[str]] = defaultdict(set)
        self._starts: Counter[str] = Counter()
        self._lost_on: dict[str, set[str]] = defaultdict(set)

    def succeeded(self, node: str) -> None:
        """A process on the node has delivered: its failures in a row start again from 0."""
        self._cells.pop(node, None)
        self._starts.pop(node, None)

    def lost(self, cell_id: str, node: str) -> None:
        """A process was lost on the node in the middle of a cell."""
        nodes = self._lost_on[cell_id]
        nodes.add(node)
        if len(nodes) == 1:
            self._cells[node].add(cell_id)
            return
        for each in nodes:  # the cell dies on every node
            self._cells[each].discard(cell_id)

    def failed_to_start(self, node: str) -> None:
        """A process on the node ended before it got a run."""
        self._starts[node] += 1

    def losses(self, node: str) -> int:
        """The node's failures in a row."""
        return len(self._cells[node]) + self._starts[node]

    def is_unhealthy(self, node: str, *, alone: bool) -> bool:
        """Whether to quarantine the node. The last node stays as long as processes start there."""
        return (self._starts[node] if alone else self.losses(node)) >= self._max_losses
