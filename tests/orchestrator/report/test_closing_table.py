import io
import json

import pytest
from rich.console import Console

import testbed.report_sweeps as sweeps
from orchestrator import report
from orchestrator.results.rows import AggregatedResult

LONG = sweeps.failed(model="meta-llama/Meta-Llama-3.1-70B-Instruct", precision="int8-torchao", batch=128, prompt=2048)


@pytest.mark.parametrize("share", [0.02, 0.4, 3.0])
@pytest.mark.parametrize("width", [80, 100, 160])
def test_each_cell_is_one_line_with_every_figure_whole(width: int, share: float) -> None:
    results = [*(sweeps.noisy(result, share) for result in sweeps.gpu_sweep(models=1)), LONG]
    text = _printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    lines = [line for line in text.splitlines() if " ok " in line or " oom " in line]
    assert len(lines) == len(results)
    assert not any("…" in line[width // 2 :] for line in lines), "only the model's name may be cut"
    assert "\x1b" not in text, "a job's log has no colours"


def test_control_characters_in_names_and_options_do_not_reach_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e"
    one = with_settings(batch_size=4, generate={"act": hostile})
    changed = {"cell": one.cell.model_copy(update={"model": f"m{hostile}"}), "mixed": ("gpu_names",)}
    rows = [one.model_copy(update=changed), with_settings(batch_size=4)]
    text = _printed([*rows, sweeps.failed(model=f"f{hostile}", precision="fp32", batch=1)], 300)
    assert not set(hostile) & set(text) - set("owned]0;2J")
    assert r"m\x1b]0;owned\x07\x9b2J\u202e" in text
    assert r"mixed: m\x1b]0;owned\x07\x9b2J\u202e " in text


def test_a_console_of_100_columns_shows_every_quantity() -> None:
    text = _printed(sweeps.gpu_sweep(models=1), 100)
    for heading in ("Throughput", "TTFT", "Energy", "Peak", "FLOPs", "tokens/s", "ms", "mJ/token", "MB", "TFLOP"):
        assert heading in text
    assert "Omitted" not in text


def test_a_log_of_80_columns_names_what_it_omits() -> None:
    assert "Omitted to fit 80 columns: TTFT and peak memory." in _printed(sweeps.gpu_sweep(models=1), 80)


def with_settings(**settings: object) -> AggregatedResult:
    row = sweeps.gpu_sweep(models=1)[0]
    return row.model_copy(update={"cell": row.cell.model_copy(update={"settings": json.dumps(settings)})})


def test_rows_that_differ_only_in_other_settings_show_them() -> None:
    rows = [with_settings(generate={"num_beams": beams}, load={"use_cache": True}, processes=2) for beams in (2, 4)]
    text = _printed(rows, 160)
    assert "num_beams=2" in text
    assert "num_beams=4" in text
    assert "use_cache" not in text  # both have it
    assert "Also omitted: other settings" in _printed(rows, 80)
    assert "other settings" not in _printed(sweeps.gpu_sweep(models=1), 160)


def test_flops_carry_method_and_confidence() -> None:
    assert "architecture medium" in _printed(sweeps.gpu_sweep(models=1), 160)
    assert " aM" in _printed(sweeps.gpu_sweep(models=1), 100)


def test_uncertainties_that_repeats_do_not_show_are_one_line() -> None:
    text = _printed(sweeps.gpu_sweep(models=1), 100)
    assert "Not in the interval: time within one run up to ± 1.0 %, energy meters up to ± 3.0 %." in text
    assert "energy meters" not in _printed(sweeps.cpu_sweep(), 100)
    assert "high-water mark" not in text


def test_an_unstable_value_has_a_note_with_what_to_do() -> None:
    text = _printed([sweeps.noisy(result, 3.0) for result in sweeps.cpu_sweep()], 160)
    assert sum(" unstable " in line for line in text.splitlines() if " ok " in line) == 8
    assert "unstable: the interval is wider than the value; more repeats, a longer window or a quiet machine" in text
    assert "unstable" not in _printed(sweeps.cpu_sweep(), 160)


def test_the_peak_of_a_cpu_process_is_shown_without_an_interval() -> None:
    """Earlier runs in the process change it more than its repeats differ."""
    (result,) = sweeps.cpu_sweep()[:1]
    compute = result.compute_metrics.model_copy(update={"peak_memory_mb": 551.662})
    peaks = sweeps.spread([551.650, 551.662])
    statistics = result.statistics.model_copy(update={"peak_memory_mb_over_repeats": peaks})
    text = _printed([result.model_copy(update={"compute_metrics": compute, "statistics": statistics})], 160)
    assert " 552 " in text
    assert "Peak memory on a CPU is the high-water mark of the process" in text


def test_missing_energy_is_a_dash_and_its_reason_is_given_once() -> None:
    text = _printed(sweeps.cpu_sweep(), 100)
    assert text.count("no GPU was used") == 1
    assert "No J/token in 8 cells: no GPU was used" in text
    assert sum(" - " in line for line in text.splitlines() if " ok " in line) == 8


def test_a_failure_is_one_line_with_its_error() -> None:
    (line,) = [line for line in _printed(sweeps.gpu_sweep(), 160).splitlines() if line.startswith("oom: ")]
    assert line == (
        "oom: llama-2b fp32 batch 64 128/32: OutOfMemoryError: CUDA out of memory. Tried to allocate 24.00 GiB"
    )


def test_brackets_in_a_models_name_are_not_markup() -> None:
    assert "[red]evil[/red]" in _printed([sweeps.failed(model="[red]evil[/red]", precision="fp16", batch=1)], 160)


def test_a_log_that_is_not_utf8_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=100).print(report.table([*sweeps.gpu_sweep(), *sweeps.cpu_sweep()]))
    stream.flush()
    assert b" +- " in stream.buffer.getvalue()


def test_an_empty_sweep_prints_a_table_without_rows() -> None:
    assert "model" in _printed([], 100)


def _printed(results: list[AggregatedResult], width: int) -> str:
    """The table as in a job's log: no terminal, no colour."""
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(report.table(results))
    return stream.getvalue()


def test_cells_that_failed_alike_are_one_line_with_their_number() -> None:
    rows = [sweeps.failed(model="m", precision="fp16", batch=batch, message="no node is left") for batch in range(72)]
    (line,) = [line for line in _printed([*rows, LONG], 160).splitlines() if "no node is left" in line]
    assert line == "oom: 72 cells, the first m fp16 batch 0 128/32: OutOfMemoryError: no node is left"
