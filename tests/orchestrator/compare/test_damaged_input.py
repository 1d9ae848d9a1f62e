"""Damaged files: exit code 1 is for regressions only, and bad input is one line that names the file and the cause."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import store
from orchestrator.commands import compare
from orchestrator.commands.compare import main
from orchestrator.results import columns
from orchestrator.results.rows import AggregatedResult
from orchestrator.results.writer import write_tables
from tests.support.snapshot_rows import DAY_S, noisy, row


def write(folder: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table) -> str:
    """Write a snapshot, after `change` altered its table."""
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
        (lambda table: table.slice(0, 0), "the results hold no cells"),
        (set_to("ttft_s_over_repeats_mean", float("inf")), "ttft_s_over_repeats_mean is inf, not a finite number"),
        (set_to("ttft_s_over_repeats_std", float("nan")), "ttft_s_over_repeats_std is nan, not a finite number"),
        (set_to("ttft_s_over_repeats_values", [1.0, float("inf")]), "ttft_s_over_repeats_values is inf"),
        (set_to("ttft_s_over_repeats_values", [1.0]), "ttft_s: number of repeats is 5, number of values is 1"),
        (set_to("started_unix_s", 1e300), "the start time 1e+300 (s since 1970) is not a valid date"),
        (set_to("started_unix_s", None), "the start time None (s since 1970)"),
        (set_to("repeat_started_unix_s", [1.0, -5.0]), "the start time -5.0 (s since 1970)"),
        (set_to("settings", "{"), "unexpected content: JSONDecodeError"),
        (versioned("AggregatedResult/none"), "invalid schema version 'none'"),
        (versioned("AggregatedResult/0"), "invalid schema version '0'"),
        (
            versioned("AggregatedResult/" + "9" * 5000),
            "invalid schema version '99999999999999999999'",
        ),
        (
            lambda table: table.set_column(0, "cell_id", pa.array([1, 2, 3])),
            "column 'cell_id' has type int64, not string",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_the_file_and_the_cause(
    change: Callable[[pa.Table], pa.Table], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write(tmp_path / "bad", change)

    assert main([write(tmp_path / "good"), bad]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {bad}: ")
    assert err.count("\n") == 1
    assert cause in err


def test_a_bug_is_not_reported_as_a_regression_and_can_be_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(compare, "gate", broken)
    a, b = write(tmp_path / "a"), write(tmp_path / "b")

    assert main([a, b]) == 2
    expected = "error: compare failed with ZeroDivisionError: division by zero (a bug in joulegrid; --traceback "
    assert capsys.readouterr().err == f"{expected}shows where)\n"
    assert main([a, b, "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_every_flipped_bit_and_every_lost_byte_is_detected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = [row(i, noisy(rng), started_unix_s=DAY_S) for i in range(3)]
    for name in "ab":
        write_tables(store.Folder(str(tmp_path / name)), [(each, []) for each in rows])
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


@pytest.mark.slow
def test_damage_to_files_without_a_checksum_gives_a_report_or_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    whole = (tmp_path / "b" / "results.parquet").read_bytes()
    for damaged in _damaged(whole, flips=40, cuts=5):
        (tmp_path / "b" / "results.parquet").write_bytes(damaged)
        code = main([a, b])
        out, err = capsys.readouterr()
        assert bool(out) == (not err), "either a report or an error"
        assert code == 2 or out


def _damaged(whole: bytes, *, flips: int, cuts: int) -> list[bytes]:
    draw = random.Random(0)
    result = [whole[: draw.randrange(len(whole))] for _ in range(cuts)]
    for bit in (draw.randrange(8 * len(whole)) for _ in range(flips)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        result.append(bytes(damaged))
    return result
