import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.commands.compare import main
from orchestrator.results.rows import AggregatedResult
from tests.support.snapshot_rows import DAY_S, noisy, row

Write = Callable[[str, list[AggregatedResult]], str]


@pytest.fixture
def snapshots(write: Write, rng: np.random.Generator, tmp_path: Path) -> Callable[..., str]:
    """Write a history of 15 snapshots of 10 cells. `fields(day, cell)` gives the factors and the fields of the row."""

    def written(fields: Callable[[int, int], dict[str, Any]], days: int = 15) -> str:
        for day in range(days):
            rows = []
            for cell in range(10):
                differs = fields(day, cell)
                values = noisy(rng, **differs.pop("factors", {}))
                rows.append(row(cell, values, **{"started_unix_s": (day + 1) * DAY_S, **differs}))
            # the names sort in reverse: the start time in the file decides
            write(f"history/{99 - day}", rows)
        return str(tmp_path / "history")

    return written


def history(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["--history", *arguments, "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_lasting_loss_is_reported_with_its_snapshot_and_the_other_differences(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def fields(day: int, cell: int) -> dict[str, Any]:
        new = day >= 10
        return {"torch_version": "2.14" if new else "2.13", "factors": {"ttft_s": 1.08} if new and cell == 3 else {}}

    code, report = history(capsys, snapshots(fields))

    (change,) = report["changes"]
    assert code == 1
    assert (change["figure"], change["night_index"], change["verdict"]) == ("ttft_s", 10, "worse")
    assert (change["cell"]["cell_id"], change["night"]["started_unix_s"]) == (f"{3:016x}", 11 * DAY_S)
    assert change["ratio_low"] < 1.08 < change["ratio_high"]
    assert change["came_with"] == ["torch 2.13 -> 2.14"]


def test_the_first_line_names_the_snapshot(snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = snapshots(lambda day, cell: {"factors": {"ttft_s": 1.1} if day >= 10 and cell == 3 else {}})

    assert main(["--history", folder]) == 1
    assert "by snapshot: 1970-01-12 00:00 (1)" in capsys.readouterr().out.splitlines()[0]


def test_an_old_loss_is_reported_and_no_longer_fails(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = history(
        capsys, snapshots(lambda day, cell: {"factors": {"ttft_s": 1.1} if day >= 6 and cell == 3 else {}})
    )

    (change,) = report["changes"]
    assert (code, change["in_force"], change["nights_since"], change["regression"]) == (0, True, 9, False)


def test_a_loss_that_was_fixed_is_two_changes_and_passes(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = snapshots(lambda day, cell: {"factors": {"ttft_s": 1.15} if 8 <= day < 12 and cell == 3 else {}})
    code, report = history(capsys, fixed)

    assert code == 0
    assert [(c["night_index"], c["verdict"], c["in_force"]) for c in report["changes"]] == [
        (12, "better", True),
        (8, "worse", False),
    ]


def test_a_new_driver_restarts_the_series_unless_it_may_differ(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = snapshots(
        lambda day, cell: {
            "driver_version": "575" if day >= 10 else "570",
            "factors": {"ttft_s": 1.2} if day >= 10 else {},
        }
    )
    code, report = history(capsys, folder)

    assert (code, report["changes"], report["breaks"]) == (0, [], ["snapshot 11: driver: 570 -> 575 (10 cells)"])
    code, report = history(capsys, folder, "--across", "driver")
    assert code == 1
    assert {(c["figure"], c["night_index"]) for c in report["changes"]} == {("ttft_s", 10)}
    assert len(report["changes"]) == 10


def test_snapshots_in_which_a_cell_failed_are_a_gap_and_not_a_change(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def fields(day: int, cell: int) -> dict[str, Any]:
        gap = day in {9, 10} and cell == 3
        return {"status": "failed" if gap else "ok", "factors": {"ttft_s": 1.1} if day >= 9 and cell == 3 else {}}

    _, report = history(capsys, snapshots(fields))

    (change,) = report["changes"]
    assert (change["figure"], change["night_index"]) == ("ttft_s", 9)  # its ok repeats still count


def test_snapshots_without_a_change_report_none(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = history(capsys, snapshots(lambda day, cell: {}))

    assert (code, report["changes"], report["judged"]) == (0, [], 60)
    assert report["repeat_noise"]["ttft_s"] == pytest.approx(0.02, rel=0.15)


def test_repeats_that_are_excluded_in_many_snapshots_are_reported_with_their_cell(
    write: Write, rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(1, 7):
        figures = [noisy(rng) for _ in range(10)]
        if day > 3:
            figures[3]["ttft_s"][1] *= 1.5
        write(f"history/{day}", [row(i, values, started_unix_s=day * DAY_S) for i, values in enumerate(figures)])
    code, report = history(capsys, str(tmp_path / "history"))

    assert (code, report["changes"]) == (0, [])
    (note,) = report["notes"]
    assert note.startswith("ttft_s: 3 of 300 repeats (1 in the latest snapshot) are far worse")
    assert note.endswith("The most are in tiny bf16 batch 4, 128+32: 3, in 3 of 6 snapshots")
    main(["--history", str(tmp_path / "history")])
    assert note in capsys.readouterr().out


def test_two_snapshots_are_too_few_for_a_history(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--history", snapshots(lambda day, cell: {}, days=2)]) == 2
    assert "snapshots found: 2" in capsys.readouterr().err


@pytest.mark.parametrize(("apart_s", "fails"), [(2.0, False), (100.0, True)])
def test_a_new_level_of_one_snapshot_whose_repeats_ran_close_together_is_doubtful(
    snapshots: Callable[..., str], capsys: pytest.CaptureFixture[str], apart_s: float, fails: bool
) -> None:
    def fields(day: int, cell: int) -> dict[str, Any]:
        slow = {"e2e_s": 1.4} if day == 14 and cell == 3 else {}
        return {"factors": slow, "apart_s": apart_s if day == 14 else 100.0}

    folder = snapshots(fields)
    code, report = history(capsys, folder)

    (change,) = report["changes"]
    assert (code, change["regression"]) == (int(fails), fails)
    assert (change["doubt"] is None) == fails
    main(["--history", folder, "--format", "markdown"])
    assert ("doubtful: a single snapshot, all repeats within 8 s" in capsys.readouterr().out) != fails
