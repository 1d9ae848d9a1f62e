"""Cells over several processes, with real tiny models on simulated GPUs: ranks, splits, and a rank that dies."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from equipment import StandIn, gone, lines, not_estimated, sweep, until

from orchestrator import config, plan, schedule, windows
from orchestrator.config import SweepConfig
from workers.records import Outcome, RawProcessResult, Run

pytestmark = pytest.mark.usefixtures("ray_session")

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 300,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


class Writing:
    """The real measurer; afterwards its model says on file what it makes of one prompt."""

    def __init__(self, folder: Path) -> None:
        from workers.measure import Measurer

        self._measurer = Measurer(cpu_threads=1)
        self._folder = folder

    def measure(self, run: Run, *, rank: int, **more: Any) -> RawProcessResult:
        import torch

        result = self._measurer.measure(run, rank=rank, **more)
        assert self._measurer.loaded is not None
        prompt = torch.arange(3, 11)[None]
        made = self._measurer.loaded.model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, eos_token_id=None
        )
        name = f"{run.cell.processes} {run.cell.tensor_parallel} {rank}.json"
        (self._folder / name).write_text(json.dumps(made[0, 8:].tolist()))
        return result

    def changes(self) -> tuple[str, ...]:
        return self._measurer.changes()


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers do not have this folder


def real_sweep(**settings: Any) -> SweepConfig:
    usual = {
        "name": "gangs", "models": {"name": "tiny", "config": LLAMA}, "precisions": "fp32", "device": "cpu",
        "axes": {"batch_size": 4, "input_tokens": 7, "output_tokens": 5},
        "window": {"relative_uncertainty": 1e-9, "max_s": 3, "max_generations": 1_000_000},  # a rank may stall
        "placement": {"gpus_per_process": 1},
    }  # fmt: skip
    return config.from_mapping(usual | settings)


def outcomes(settings: SweepConfig, **equipment: Any) -> list[Outcome]:
    runs = plan.runs(plan.expand(settings), settings)
    return list(schedule.run(runs, settings, schedule.connect(settings), estimate=not_estimated, **equipment))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def gangs(ray_session: None, tokens: Path) -> dict[tuple[int, int], Outcome]:
    """Processes and splits -> what came of them: gangs of 1, 2 and 4."""
    shapes = [{"processes": 1}, {"processes": 2}, {"processes": 2, "tensor_parallel": 2}]
    found = outcomes(real_sweep(groups=[shapes]), make=partial(Writing, tokens))
    return {(outcome.run.cell.processes, outcome.run.cell.tensor_parallel): outcome for outcome in found}


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
        held = gangs[shape].results[0].compute_metrics.model_memory_mb
        assert held is not None
        return held

    assert memory_mb((2, 1)) == memory_mb((1, 1))
    assert memory_mb((2, 2)) < 0.9 * memory_mb((1, 1))


@pytest.mark.slow
def test_a_split_model_makes_the_tokens_of_the_whole_one(gangs: dict[tuple[int, int], Outcome], tokens: Path) -> None:
    made = {file.stem: json.loads(file.read_text()) for file in tokens.iterdir()}
    assert len(made) == 1 + 2 + 4
    whole = made["1 1 0"]
    assert len(whole) == 12
    assert len(set(whole)) > 3
    assert all(some == whole for some in made.values())


@pytest.mark.slow
def test_windows_of_a_gang_open_together(gangs: dict[tuple[int, int], Outcome]) -> None:
    for outcome in gangs.values():
        results = outcome.results
        opened = [result.window_opened_after_barrier_s for result in results]
        assert (opened == [None]) if len(results) == 1 else None not in opened
        assert max(r.window_start_unix_s for r in results) < min(r.window_end_unix_s for r in results)
        assert windows.wall_clocks_agree(results)


@pytest.mark.slow
def test_a_gpu_that_was_promised_and_that_torch_does_not_see_is_an_error_not_a_cpu() -> None:
    (outcome,) = outcomes(real_sweep(device="auto", placement={}))
    assert outcome.failure is not None
    assert outcome.failure.error_type == "UnsupportedError"
    assert "sees no CUDA device" in outcome.failure.error_message


def test_a_rank_that_dies_ends_its_gang_though_the_others_wait_for_it(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    act = {"log": log, "kills": "", "on_rank": 1}
    (outcome,) = outcomes(sweep([act], axes={"processes": 2, "batch_size": 2}, max_attempts=1), make=StandIn)
    assert outcome.failure is not None
    assert (outcome.failure.status, outcome.failure.rank) == ("lost", 1)
    assert len(lines(Path(log))) == 2
    until(lambda: all(gone(int(pid)) for _, _, pid, _ in lines(Path(log))))


def test_a_gang_that_no_node_can_hold_is_skipped_and_a_smaller_one_is_not() -> None:
    found = outcomes(sweep([{}], axes={"processes": [2, 16], "batch_size": 16}), make=StandIn)
    by_size = {outcome.run.cell.processes: outcome for outcome in found}
    assert by_size[2].status == "ok"
    assert len(by_size[2].results) == 2
    assert by_size[16].failure is not None
    assert (by_size[16].status, by_size[16].failure.error_type) == ("skipped", "NoRoom")
    assert by_size[16].failure.error_message.startswith("the cluster cannot hold 16 processes on one node: it has ")
