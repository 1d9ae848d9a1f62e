"""The time of a sweep that is not loading or measuring, on a grid that other tools were measured on.

8 cells: 2 models x fp32/bf16 x batch 1/4, 16 new tokens, on the CPU. The overhead is everything but load, warm-up and
window: starting Ray and the processes, importing torch, counting FLOPs, the journal, the tables. On the same grid and
size of machine, optimum-benchmark took 10.2 s per cell and llenergymeasure 8.9 s (each starts a process per cell).

The first turn on a machine may include the compilation of imported modules.

    python benchmarks/overhead_per_cell.py
    python benchmarks/overhead_per_cell.py --turns 1
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

SWEEP = """
name: peers-grid
models:
  - name: tiny-llama
    config: {model_type: llama, vocab_size: 1024, hidden_size: 128, intermediate_size: 352, num_hidden_layers: 4,
             num_attention_heads: 4}
  - name: tiny-gpt2
    config: {model_type: gpt2, vocab_size: 1024, n_embd: 128, n_layer: 4, n_head: 4, n_positions: 512}
precisions: [fp32, bf16]
axes: {batch_size: [1, 4], input_tokens: 32, output_tokens: 16}
device: cpu
window: {max_s: 1}
"""


def main() -> None:
    """Run the grid several times from the start, and print how each spent its time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="how often to run the grid (default: 5)")
    turns = parser.parse_args().turns
    print(
        f"{'s per cell':>11}{'before the first':>18}{'per cell between':>18}{'after the last':>16}{'second start':>14}"
    )
    overheads = [_turn() for _ in range(turns)]
    median = statistics.median(overheads)
    print(f"overhead: {median:.2f} s per cell (median; {min(overheads):.2f} to {max(overheads):.2f}), at most 1")
    print(f"ratio to optimum-benchmark: {median / 10.2:.3f}, to llenergymeasure: {median / 8.9:.3f}")


def _turn() -> float:
    """Run the grid from the start, then once more with all runs done; returns the overhead per cell. Unit: s."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sweep.yaml").write_text(SWEEP)
        began_unix_s = time.time()
        whole_s = _timed(folder)
        again_s = _timed(folder)
        rows = pq.read_table(Path(folder) / "results" / "peers-grid" / "raw.parquet").to_pylist()
    load_s = sum(row["load_s"] for row in rows if not row["model_reused"])
    measured_s = sum(row["window_s"] + row["warmup_duration_s"] for row in rows)
    overhead_s = whole_s - load_s - measured_s
    first = min(rows, key=lambda row: row["window_start_unix_s"])
    start_s = first["window_start_unix_s"] - first["warmup_duration_s"] - first["load_s"] - began_unix_s
    end_s = began_unix_s + whole_s - max(row["window_end_unix_s"] for row in rows)
    between_s = (overhead_s - start_s - end_s) / len(rows)
    print(f"{overhead_s / len(rows):11.2f}{start_s:18.1f}{between_s:18.3f}{end_s:16.1f}{again_s:14.1f}", flush=True)
    return overhead_s / len(rows)


def _timed(folder: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "orchestrator", "sweep.yaml"]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
