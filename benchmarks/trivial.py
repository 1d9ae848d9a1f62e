"""What the benchmarks of the driver share: a sweep of trivial runs on simulated GPUs.

The runs go through the program's own flow: plan, count, schedule, journal, tables. Only the model is missing.
"""

import io
import os
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from rich.console import Console

from orchestrator import config
from orchestrator import sweep as flow
from orchestrator.config import SweepConfig

ROOT = Path(__file__).parents[1]

MODELS = 10
TINY = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2,
}  # fmt: skip
"""A model whose FLOPs are quickly counted; it is never loaded."""


def sweep(cells: int, out: Path) -> SweepConfig:
    """A sweep of `cells` (a multiple of 10) cells over 10 models, each run on a simulated GPU.

    The cells of a model differ only in what the engine ignores, so that each model's FLOPs are counted once.
    """
    return config.from_mapping(
        {
            "name": "trivial",
            "engine": "benchmarks.trivial_engine:Trivial",
            "models": [{"name": f"m{index}", "config": TINY | {"vocab_size": 8 + index}} for index in range(MODELS)],
            "precisions": "bf16",
            "axes": {"output_tokens": 2, "generate.act": [{"n": index} for index in range(cells // MODELS)]},
            "device": "cpu",
            "placement": {"gpus_per_process": 1},
            "out": str(out),
        }
    )


def start_ray(gpus: int = 8) -> None:
    """Start a Ray cluster with simulated GPUs, whose workers can import the benchmarks' engine."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ray.init(
        address="local",
        num_cpus=gpus,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="error",
    )


def run(cells: int, folder: Path) -> tuple[float, float]:
    """Run a sweep of trivial cells; returns the time of all runs, and of all that follows them. Unit: s."""
    finished = flow.run(sweep(cells, folder / "out"), folder=folder, console=Console(file=io.StringIO()))
    ended = time.time()
    assert finished.summary.ok == cells, f"{finished.summary.ok} of {cells} cells ok"
    starts = pq.read_table(folder / "out" / "raw.parquet")["window_start_unix_s"]
    first, last = pc.min(starts).as_py(), pc.max(starts).as_py()
    return last - first, ended - last
