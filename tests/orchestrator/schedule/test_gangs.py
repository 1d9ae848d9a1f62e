"""Cells over several processes, with real tiny models on simulated GPUs: ranks, splits, and a rank that dies."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import config, grid, schedule
from orchestrator.aggregate import windows
from orchestrator.config import SweepConfig
from tests.support.processes import gone, until
from tests.support.sweeps import lines, not_counted, sweep
from workers.records import Outcome

pytestmark = pytest.mark.usefixtures("ray_session")

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 300,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def real_sweep(**settings: Any) -> SweepConfig:
    usual = {
        "name": "gangs", "models": {"name": "tiny", "config": LLAMA}, "precisions": "fp32", "device": "cpu",
        "axes": {"batch_size": 4, "input_tokens": 7, "output_tokens": 5},
        "window": {"relative_uncertainty": 1e-9, "max_s": 3, "max_generations": 1_000_000},  # a rank may stall
        "placement": {"gpus_per_process": 1},
    }  # fmt: skip
    return config.from_mapping(usual | settings)


def outcomes(settings: SweepConfig) -> list[Outcome]:
    runs = grid.runs(grid.expand(settings), settings)
    return list(schedule.run(runs, settings, schedule.connect(settings), estimate=not_counted))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def gangs(ray_session: None, tokens: Path) -> dict[tuple[int, int], Outcome]:
    """Processes and splits -> outcome, for gangs of 1, 2 and 4 ranks."""
    shapes = [{"processes": 1}, {"processes": 2}, {"processes": 2, "tensor_parallel": 2}]
    act = {"batch_size": 4, "input_tokens": 7, "output_tokens": 5, "generate.act": [{"to": str(tokens)}]}
    ended = outcomes(real_sweep(groups=[shapes], engine="tests.support.engines:Writing", axes=act))
    return {(outcome.run.cell.processes, outcome.run.cell.tensor_parallel): outcome for outcome in ended}


@pytest.mark.slow
def test_a_gang_gives_one_row_per_rank(gangs: dict[tuple[int, int], Outcome]) -> None:
    assert [outcome.failure for outcome in gangs.values()] == [None] * 3
    ranks = {shape: [result.rank for result in outcome.results] for shape, outcome in gangs.items()}
    assert ranks == {(1, 1): [0], (2, 1): [0, 1], (2, 2): [0, 1, 2, 3]}
    for outcome in gangs.values():
        assert len({result.pid for result in outcome.results}) == len(outcome.results)


@pytest.mark.slow
def test_replicas_share_the_batch_and_splits_do_not(gangs: dict[tuple[int, int], Outcome]) -> None:
    shares = {shape: [r.measured_batch_size for r in outcome.results] for shape, outcome in gangs.items()}
    assert shares == {(1, 1): [4], (2, 1): [2, 2], (2, 2): [2, 2, 2, 2]}


@pytest.mark.slow
def test_each_split_holds_its_part_of_the_model(gangs: dict[tuple[int, int], Outcome]) -> None:
    def memory_mb(shape: tuple[int, int]) -> float:
        memory = gangs[shape].results[0].compute_metrics.model_memory_mb
        assert memory is not None
        return memory

    assert memory_mb((2, 1)) == memory_mb((1, 1))
    assert memory_mb((2, 2)) < 0.9 * memory_mb((1, 1))


@pytest.mark.slow
def test_a_split_model_generates_the_tokens_of_the_whole_one(
    gangs: dict[tuple[int, int], Outcome], tokens: Path
) -> None:
    by_rank = {file.stem: json.loads(file.read_text()) for file in tokens.iterdir()}
    assert len(by_rank) == 1 + 2 + 4
    whole = by_rank["1 1 0"]
    assert len(whole) == 12
    assert len(set(whole)) > 3
    assert all(some == whole for some in by_rank.values())


@pytest.mark.slow
def test_windows_of_a_gang_open_together(gangs: dict[tuple[int, int], Outcome]) -> None:
    for outcome in gangs.values():
        results = outcome.results
        opened = [result.window_opened_after_barrier_s for result in results]
        assert (opened == [None]) if len(results) == 1 else None not in opened
        assert max(r.window_start_unix_s for r in results) < min(r.window_end_unix_s for r in results)
        assert windows.wall_clocks_agree(results)


@pytest.mark.slow
def test_a_gpu_that_ray_has_and_torch_does_not_see_is_an_error() -> None:
    (outcome,) = outcomes(real_sweep(device="auto", placement={}))
    assert outcome.failure is not None
    assert outcome.failure.error_type == "UnsupportedError"
    assert "sees no CUDA device" in outcome.failure.error_message


@pytest.mark.slow
def test_a_rank_that_dies_ends_its_gang_though_the_others_wait_for_it(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    act = {"log": log, "kills": "", "on_rank": 1}
    (outcome,) = outcomes(sweep([act], axes={"processes": 2, "batch_size": 2}, max_attempts=1))
    assert outcome.failure is not None
    assert (outcome.failure.status, outcome.failure.rank) == ("lost", 1)
    assert len(lines(Path(log))) == 2
    until(lambda: all(gone(int(pid)) for _, _, pid, _ in lines(Path(log))))


@pytest.mark.slow
def test_a_gang_that_no_node_can_hold_is_skipped_and_a_smaller_one_is_not() -> None:
    ended = outcomes(sweep([{}], axes={"processes": [2, 16], "batch_size": 16}))
    by_size = {outcome.run.cell.processes: outcome for outcome in ended}
    assert by_size[2].status == "ok"
    assert len(by_size[2].results) == 2
    assert by_size[16].failure is not None
    assert (by_size[16].status, by_size[16].failure.error_type) == ("skipped", "NoRoom")
    assert by_size[16].failure.error_message.startswith("the cluster cannot hold 16 processes on one node: it has ")
