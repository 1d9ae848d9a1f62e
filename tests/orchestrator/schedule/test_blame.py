from orchestrator.schedule.blame import Blame


def test_a_node_that_loses_one_cell_after_the_other_is_unfit() -> None:
    blame = Blame(3)
    for cell in ("a", "b", "c"):
        assert not blame.is_unfit("n1", alone=False)
        blame.lost(cell, "n1")
    assert blame.is_unfit("n1", alone=False)


def test_losses_with_a_success_between_them_are_not_in_a_row() -> None:
    blame = Blame(2)
    blame.lost("a", "n1")
    blame.went_well("n1")
    blame.lost("b", "n1")
    assert not blame.is_unfit("n1", alone=False)


def test_the_same_cell_lost_again_and_again_counts_once() -> None:
    blame = Blame(2)
    for _ in range(5):
        blame.lost("a", "n1")
    assert not blame.is_unfit("n1", alone=False)


def test_a_cell_that_was_lost_on_two_nodes_is_to_blame_itself() -> None:
    blame = Blame(1)
    blame.lost("a", "n1")
    blame.lost("a", "n2")
    blame.lost("a", "n1")
    assert blame.losses("n1") == blame.losses("n2") == 0


def test_the_only_node_stays_unless_processes_cannot_even_start_there() -> None:
    blame = Blame(2)
    blame.lost("a", "n1")
    blame.lost("b", "n1")
    assert not blame.is_unfit("n1", alone=True)
    blame.did_not_start("n1")
    blame.did_not_start("n1")
    assert blame.is_unfit("n1", alone=True)
