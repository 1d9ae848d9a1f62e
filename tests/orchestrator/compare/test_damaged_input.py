"""Whatever the files hold: exit code 1 is a regression's alone, and bad input is one line that names file and cause."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_rows import DAY_S, noisy, row

from orchestrator import columns, store
from orchestrator.compare import cli, main
from orchestrator.results import AggregatedResult


def made(folder: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table) -> str:
    """A night's results, changed on their way to the file."""
    rng = np.random.default_rng(0)
    rows = [row(i, noisy(rng), started_unix_s=DAY_S) for i in range(3)]
    folder.mkdir()
    pq.write_table(change(columns.table(AggregatedResult, rows)), folder / "results.parquet")
    return str(folder)


def set_to(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        return table.set_column(place, table.field(place), pa.array([value] * len(table), table.field(place).type))

    return changed


def versioned(version: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({"joulegrid_schema": version})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda table: table.drop_columns(["cpu_name"]), "no column 'cpu_name'"),
        (lambda table: table.drop_columns(["cpu_name", "ttft_s_over_repeats_n"]), "(and 1 more)"),
        (lambda table: table.slice(0, 0), "results without a single cell"),
        (set_to("ttft_s_over_repeats_mean", float("inf")), "ttft_s_over_repeats_mean is inf, which is no figure"),
        (set_to("ttft_s_over_repeats_std", float("nan")), "ttft_s_over_repeats_std is nan, which is no figure"),
        (set_to("ttft_s_over_repeats_values", [1.0, float("inf")]), "ttft_s_over_repeats_values is inf"),
        (set_to("ttft_s_over_repeats_values", [1.0]), "ttft_s has 5 repeats and 1 values"),
        (set_to("started_unix_s", 1e300), "it began at 1e+300 s since 1970, which is no date"),
        (set_to("started_unix_s", None), "it began at None s since 1970"),
        (set_to("repeat_started_unix_s", [1.0, -5.0]), "it began at -5.0 s since 1970"),
        (set_to("settings", "{"), "cannot be made sense of: JSONDecodeError"),
        (versioned("AggregatedResult/none"), "schema version 'none', which no joulegrid writes"),
        (versioned("AggregatedResult/0"), "schema version '0', which no joulegrid writes"),
        (
            versioned("AggregatedResult/" + "9" * 5000),
            "schema version '99999999999999999999', which no",
        ),
        (
            lambda table: table.set_column(0, "cell_id", pa.array([1, 2, 3])),
            "column 'cell_id' holds int64, not string",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_the_file_and_the_cause(
    change: Callable[[pa.Table], pa.Table], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = made(tmp_path / "bad", change)

    assert main([made(tmp_path / "good"), bad]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {bad}: ")
    assert err.count("\n") == 1
    assert cause in err


def test_a_fault_of_the_program_is_no_regression_and_can_be_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(cli, "gate", broken)
    a, b = made(tmp_path / "a"), made(tmp_path / "b")

    assert main([a, b]) == 2
    expected = "error: comparing failed with ZeroDivisionError: division by zero (a fault of joulegrid's; --traceback "
    assert capsys.readouterr().err == f"{expected}shows where)\n"
    assert main([a, b, "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_no_flipped_bit_and_no_lost_byte_of_a_sweeps_results_goes_unseen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows = [row(i, noisy(rng), started_unix_s=DAY_S) for i in range(3)]
    for name in "ab":
        store.write_tables(store.Folder(str(tmp_path / name)), [(each, []) for each in rows])
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main([a, b]) == 0
    capsys.readouterr()

    whole = (tmp_path / "b" / "results.parquet").read_bytes()
    for damaged in _damaged(whole, flips=20, cuts=5):
        (tmp_path / "b" / "results.parquet").write_bytes(damaged)
        assert main([a, b]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {b}: results.parquet cannot be read")


def test_damage_to_files_without_a_checksum_never_passes_for_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b")
    whole = (tmp_path / "b" / "results.parquet").read_bytes()
    for damaged in _damaged(whole, flips=40, cuts=5):
        (tmp_path / "b" / "results.parquet").write_bytes(damaged)
        code = main([a, b])
        out, err = capsys.readouterr()
        assert bool(out) == (not err), "a report, or one line that says why there is none"
        assert code == 2 or out


def _damaged(whole: bytes, *, flips: int, cuts: int) -> list[bytes]:
    draw = random.Random(0)
    found = [whole[: draw.randrange(len(whole))] for _ in range(cuts)]
    for bit in (draw.randrange(8 * len(whole)) for _ in range(flips)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        found.append(bytes(damaged))
    return found
