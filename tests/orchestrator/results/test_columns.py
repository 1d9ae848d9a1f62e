"""Records become flat, typed columns whose types pandas, Polars and DuckDB preserve."""

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.results.columns import columns, schema, table
from orchestrator.results.rows import AggregatedResult, CellSettings, RawRow, SweepInfo
from workers.records import ComputeMetrics, FlopsResult, Record

REQUIRED = [
    "cell_id", "model", "precision", "batch_size", "input_tokens", "output_tokens", "status", "error_type",
    "error_message", "repeats_ok", "flops_value", "flops_method", "flops_confidence", "flops_precision", "flops_notes",
    "flops_per_token", "flops_per_second", "peak_memory_mb", "model_memory_mb", "output_tokens_per_s", "window_s",
    "load_s", "gpu_energy_j", "energy_method", "energy_confidence", "energy_per_output_token_j", "tokens_per_joule",
    "effective_flops", "precision_factor", "tokens_per_effective_pflop",
]  # fmt: skip

CELL = CellSettings(
    cell_id="0" * 16, model="tiny", precision="bf16", batch_size=4, input_tokens=8, output_tokens=2,
    attention="sdpa", device_asked="cpu", processes=1, tensor_parallel=1, settings="{}",
)  # fmt: skip
SWEEP = SweepInfo(sweep="s", sweep_hash="h", ray_version="2", driver_host="here", started_unix_s=1.0)


def row(confidence: str) -> AggregatedResult:
    flops = FlopsResult(value=1e9, method="calflops", confidence=confidence, precision="bf16")
    return AggregatedResult(
        cell=CELL, status="ok", repeats_asked=1, repeats_ok=1, attempts=1,
        compute_metrics=ComputeMetrics(flops=flops), sweep=SWEEP,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "results.parquet"
    pq.write_table(table(AggregatedResult, [row("high"), row("low")]), file)
    return file


def test_every_documented_column_exists():
    assert set(REQUIRED) <= set(schema(AggregatedResult).names)


@pytest.mark.parametrize("model", [AggregatedResult, RawRow])
def test_every_column_has_a_sentence_and_figures_have_a_unit(model):
    for column in columns(model):
        assert column.sentence.strip(), column.name
        if column.type == pa.float64():
            assert column.unit, column.name


def test_the_schema_says_its_version(path):
    assert pq.read_schema(path).metadata[b"joulegrid_schema"] == b"AggregatedResult/1"


def test_confidence_is_ordered_in_arrow_pandas_and_polars(path):
    assert pq.read_schema(path).field("flops_confidence").type.ordered
    in_pandas = pd.read_parquet(path).flops_confidence
    assert list(in_pandas.cat.categories) == ["low", "medium", "high"]
    assert list(in_pandas > "low") == [True, False]
    in_polars = pl.read_parquet(path)
    assert in_polars.schema["flops_confidence"] == pl.Enum(["low", "medium", "high"])
    assert in_polars.filter(pl.col("flops_confidence") >= "medium").height == 1


def test_enumerations_are_dictionaries_and_counts_are_integers(path):
    arrow = pq.read_schema(path)
    for name in ("flops_method", "status", "precision", "energy_method", "attention"):
        assert pa.types.is_dictionary(arrow.field(name).type), name
    for name in ("batch_size", "output_tokens", "repeats_ok", "generated_tokens", "parameters"):
        assert arrow.field(name).type == pa.int64(), name


def test_duckdb_reads_the_figures(path):
    got = duckdb.sql(f"select flops_value, gpu_energy_j, flops_method from '{path}' where flops_confidence = 'high'")
    assert got.fetchall() == [(1e9, None, "calflops")]


def test_a_missing_record_gives_nulls_not_zeros(path):
    assert pd.read_parquet(path)[["output_tokens_per_s", "gpu_energy_j", "load_s"]].isna().all().all()


def test_two_fields_with_the_same_column_name_are_an_error():
    class Twice(Record):
        model: str
        cell: CellSettings

    with pytest.raises(TypeError, match="several fields become the column model"):
        columns(Twice)
