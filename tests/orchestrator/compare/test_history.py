import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from night_rows import DAY_S, noisy, row

from orchestrator.compare import main
from orchestrator.results import AggregatedResult

Write = Callable[[str, list[AggregatedResult]], str]


@pytest.fixture
def nights(write: Write, rng: np.random.Generator, tmp_path: Path) -> Callable[..., str]:
    """Write a history of 15 nights of 10 cells. `says(day, cell)` gives the factors and what the row says."""

    def written(says: Callable[[int, int], dict[str, Any]], days: int = 15) -> str:
        for day in range(days):
            rows = []
            for cell in range(10):
                said = says(day, cell)
                values = noisy(rng, **said.pop("factors", {}))
                rows.append(row(cell, values, **{"started_unix_s": (day + 1) * DAY_S, **said}))
            # names that sort against the nights: the time in the file counts
            write(f"history/{99 - day}", rows)
        return str(tmp_path / "history")

    return written


def looked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["--history", *arguments, "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_lasting_loss_is_named_with_its_night_and_what_came_with_it(
    nights: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def says(day: int, cell: int) -> dict[str, Any]:
        new = day >= 10
        return {"torch_version": "2.14" if new else "2.13", "factors": {"ttft_s": 1.08} if new and cell == 3 else {}}

    code, report = looked(capsys, nights(says))

    (change,) = report["changes"]
    assert code == 1
    assert (change["figure"], change["night_index"], change["verdict"]) == ("ttft_s", 10, "worse")
    assert (change["cell"]["cell_id"], change["night"]["started_unix_s"]) == (f"{3:016x}", 11 * DAY_S)
    assert change["ratio_low"] < 1.08 < change["ratio_high"]
    assert change["came_with"] == ["torch 2.13 -> 2.14"]


def test_the_text_names_the_night_first(nights: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = nights(lambda day, cell: {"factors": {"ttft_s": 1.1} if day >= 10 and cell == 3 else {}})

    assert main(["--history", folder]) == 1
    assert "by night: 1970-01-12 00:00 (1)" in capsys.readouterr().out.splitlines()[0]


def test_an_old_loss_is_told_and_fails_no_longer(
    nights: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = looked(
        capsys, nights(lambda day, cell: {"factors": {"ttft_s": 1.1} if day >= 6 and cell == 3 else {}})
    )

    (change,) = report["changes"]
    assert (code, change["in_force"], change["nights_since"], change["regression"]) == (0, True, 9, False)


def test_a_loss_that_was_mended_is_two_changes_and_passes(
    nights: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    mended = nights(lambda day, cell: {"factors": {"ttft_s": 1.15} if 8 <= day < 12 and cell == 3 else {}})
    code, report = looked(capsys, mended)

    assert code == 0
    assert [(c["night_index"], c["verdict"], c["in_force"]) for c in report["changes"]] == [
        (12, "better", True),
        (8, "worse", False),
    ]


def test_a_new_driver_begins_the_series_anew_unless_asked_across(
    nights: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = nights(
        lambda day, cell: {
            "driver_version": "575" if day >= 10 else "570",
            "factors": {"ttft_s": 1.2} if day >= 10 else {},
        }
    )
    code, report = looked(capsys, folder)

    assert (code, report["changes"], report["breaks"]) == (0, [], ["night 11: driver: 570 -> 575 (10 cells)"])
    code, report = looked(capsys, folder, "--across", "driver")
    assert code == 1
    assert {(c["figure"], c["night_index"]) for c in report["changes"]} == {("ttft_s", 10)}
    assert len(report["changes"]) == 10


def test_nights_on_which_a_cell_failed_leave_a_gap_and_no_change(
    nights: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def says(day: int, cell: int) -> dict[str, Any]:
        gap = day in {9, 10} and cell == 3
        return {"status": "failed" if gap else "ok", "factors": {"ttft_s": 1.1} if day >= 9 and cell == 3 else {}}

    _, report = looked(capsys, nights(says))

    (change,) = report["changes"]
    assert (change["figure"], change["night_index"]) == ("ttft_s", 9)  # its repeats that are ok still count


def test_quiet_nights_hold_no_change(nights: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    code, report = looked(capsys, nights(lambda day, cell: {}))

    assert (code, report["changes"], report["judged"]) == (0, [], 60)
    assert report["repeat_noise"]["ttft_s"] == pytest.approx(0.02, rel=0.15)


def test_repeats_that_are_set_aside_on_many_nights_are_said_with_their_cell(
    write: Write, rng: np.random.Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(1, 7):
        figures = [noisy(rng) for _ in range(10)]
        if day > 3:
            figures[3]["ttft_s"][1] *= 1.5
        write(f"history/{day}", [row(i, values, started_unix_s=day * DAY_S) for i, values in enumerate(figures)])
    code, report = looked(capsys, str(tmp_path / "history"))

    assert (code, report["changes"]) == (0, [])
    (note,) = report["notes"]
    assert note.startswith("ttft_s: 3 of 300 repeats (1 on the latest night) are far worse")
    assert note.endswith("the most in tiny bf16 batch 4, 128+32: 3, on 3 of 6 nights")
    main(["--history", str(tmp_path / "history")])
    assert note in capsys.readouterr().out


def test_two_nights_are_too_few_for_a_history(nights: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--history", nights(lambda day, cell: {}, days=2)]) == 2
    assert "holds 2 nights" in capsys.readouterr().err


@pytest.mark.parametrize(("apart_s", "fails"), [(2.0, False), (100.0, True)])
def test_a_new_level_of_one_night_whose_repeats_ran_side_by_side_is_doubtful(
    nights: Callable[..., str], capsys: pytest.CaptureFixture[str], apart_s: float, fails: bool
) -> None:
    def says(day: int, cell: int) -> dict[str, Any]:
        slow = {"e2e_s": 1.4} if day == 14 and cell == 3 else {}
        return {"factors": slow, "apart_s": apart_s if day == 14 else 100.0}

    folder = nights(says)
    code, report = looked(capsys, folder)

    (change,) = report["changes"]
    assert (code, change["regression"]) == (int(fails), fails)
    assert (change["doubt"] is None) == fails
    main(["--history", folder, "--format", "markdown"])
    assert ("doubtful: one night, all repeats within 8 s" in capsys.readouterr().out) != fails
