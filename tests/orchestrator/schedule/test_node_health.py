from orchestrator.schedule.node_health import NodeHealth


def test_a_node_that_loses_one_cell_after_the_other_is_unhealthy() -> None:
    health = NodeHealth(3)
    for cell in ("a", "b", "c"):
        assert not health.is_unhealthy("n1", alone=False)
        health.lost(cell, "n1")
    assert health.is_unhealthy("n1", alone=False)


def test_failures_with_a_success_between_them_are_not_in_a_row() -> None:
    health = NodeHealth(2)
    health.lost("a", "n1")
    health.succeeded("n1")
    health.lost("b", "n1")
    assert not health.is_unhealthy("n1", alone=False)


def test_the_same_cell_lost_again_and_again_counts_once() -> None:
    health = NodeHealth(2)
    for _ in range(5):
        health.lost("a", "n1")
    assert not health.is_unhealthy("n1", alone=False)


def test_a_cell_that_was_lost_on_two_nodes_counts_against_neither() -> None:
    health = NodeHealth(1)
    health.lost("a", "n1")
    health.lost("a", "n2")
    health.lost("a", "n1")
    assert health.losses("n1") == health.losses("n2") == 0


def test_the_only_node_stays_unless_processes_cannot_start_there() -> None:
    health = NodeHealth(2)
    health.lost("a", "n1")
    health.lost("b", "n1")
    assert not health.is_unhealthy("n1", alone=True)
    health.failed_to_start("n1")
    health.failed_to_start("n1")
    assert health.is_unhealthy("n1", alone=True)


def test_lost_cells_and_failed_starts_add_up() -> None:
    health = NodeHealth(4)
    health.lost("a", "n1")
    health.failed_to_start("n1")
    health.failed_to_start("n1")
    assert (health.losses("n1"), health.losses("n2")) == (3, 0)
    assert not health.is_unhealthy("n1", alone=False)
    health.lost("b", "n1")
    assert health.losses("n1") == 4
    assert health.is_unhealthy("n1", alone=False)
    health.succeeded("n1")
    assert health.losses("n1") == 0
