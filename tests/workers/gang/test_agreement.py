import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.support.cells import cell, run
from workers.engines.transformers import load
from workers.gang import agreement
from workers.measure import Measurer
from workers.records import Warmup, Window

IDS = torch.arange(1, 9)[None]


def split(rank: int, folder: str) -> None:
    """One of two real processes that split the tiny Llama, each with its own clock."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    measurer = Measurer(cpu_threads=1)
    what = run(
        tensor_parallel=2,
        warmup=Warmup(cv=0.2, floor=2, cap=30),
        window=Window(relative_uncertainty=0.3, min_generations=2, max_generations=30),
    )
    result = measurer.measure(what, texts={}, rank=rank, barrier=dist.barrier, prior_runs=0)
    assert measurer.loaded is not None
    with torch.no_grad():
        logits = measurer.loaded.model(IDS).logits
    half = {
        "logits": logits,
        "warmup": result.warmup.generations,
        "pids": agreement.pids(),
        "pid": os.getpid(),
        "generations": result.inference_metrics.generations,
        "rows": result.measured_batch_size,
        "changes": measurer.changes(),
    }
    torch.save(half, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(split, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.slow
def test_a_split_model_computes_what_the_whole_one_does(halves: list[dict[str, torch.Tensor]]) -> None:
    with torch.no_grad():
        whole = load(cell()).model(IDS).logits
    for half in halves:
        assert torch.allclose(half["logits"], whole, atol=1e-5)


@pytest.mark.slow
def test_ranks_of_a_split_model_stop_warming_up_and_measuring_together(halves: list[dict[str, object]]) -> None:
    assert halves[0]["warmup"] == halves[1]["warmup"]
    assert halves[0]["generations"] == halves[1]["generations"]


@pytest.mark.slow
def test_ranks_of_a_split_model_work_on_the_same_rows(halves: list[dict[str, object]]) -> None:
    assert [half["rows"] for half in halves] == [2, 2]


@pytest.mark.slow
def test_ranks_can_measure_another_run(halves: list[dict[str, object]]) -> None:
    assert [half["changes"] for half in halves] == [(), ()]


@pytest.mark.slow
def test_ranks_know_each_others_processes(halves: list[dict[str, object]]) -> None:
    assert halves[0]["pids"] == halves[1]["pids"] == [half["pid"] for half in halves]


def test_a_single_process_has_no_other_ranks_and_decides_alone() -> None:
    assert agreement.pids() == []
    decide = agreement.agreement(cell())
    assert (decide(True), decide(False)) == (True, False)
