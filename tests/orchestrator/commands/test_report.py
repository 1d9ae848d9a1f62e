from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import testbed.report_sweeps as sweeps
from orchestrator.commands import report as report_command
from orchestrator.results.columns import table
from orchestrator.results.rows import AggregatedResult


def test_the_page_is_written_from_a_folder_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweeps.write(sweeps.cpu_sweep(), tmp_path)
    for i, source in enumerate((folder, folder / "results.parquet")):
        out = tmp_path / f"{i}.html"
        assert report_command.main([str(source), "--out", str(out)]) == 0
        assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
        assert f"{out}: 8 cells" in capsys.readouterr().out


def test_missing_results_are_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_command.main([str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("report: ")
    assert "nowhere" in error
    assert error.count("\n") == 1


def test_another_programs_parquet_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"model": ["a"]}), tmp_path / "other.parquet")
    assert report_command.main([str(tmp_path / "other.parquet"), "--out", str(tmp_path / "r.html")]) == 2
    assert "other.parquet" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda full: full.drop_columns(["host"]), "KeyError: 'host'"),
        (
            lambda full: full.set_column(
                full.schema.get_field_index("started_unix_s"), "started_unix_s", pa.array([1e300] * len(full))
            ),
            "OverflowError",
        ),
    ],
)
def test_damaged_results_are_one_line_with_their_path_and_exit_2(
    change: Callable[[pa.Table], pa.Table], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.parquet"
    full = table(AggregatedResult, sweeps.cpu_sweep())
    pq.write_table(change(full).replace_schema_metadata(full.schema.metadata), file)
    assert report_command.main([str(file), "--out", str(tmp_path / "r.html")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"report: {file}: unexpected content: {cause}")
    assert error.count("\n") == 1


def test_results_without_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(table(AggregatedResult, []), tmp_path / "results.parquet")
    assert report_command.main([str(tmp_path), "--out", str(tmp_path / "r.html")]) == 2
    assert "no rows" in capsys.readouterr().err
