"""How well the schedule uses a thousand GPUs, in virtual time.

The program's own `Backlog` and `Cluster` decide what runs where. The runs are simulated: 10,000 cells of 20 models with
heavy-tailed times, which the schedule predicts with an error of 30 %. No schedule can end before the lower bound: all
work evenly shared, or the longest run alone. In the last scenario nodes fail, and their runs start again elsewhere.

    python benchmarks/schedule_simulator.py
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from testbed.virtual_cluster import HOUR_S, Simulation, heavy_tailed  # found by the line above

TARGET = 1.05
REPEATED_TARGET = 0.03
ROUNDS_TARGET = 1.06
"""Rounds of short runs cost a little time: the last round begins late, and models are loaded again."""


def main() -> None:
    """Print each scenario beside its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000, help="cells of each sweep (default: 10000)")
    parser.add_argument("--gpus", type=int, default=1000, help="GPUs, a multiple of 8 (default: 1000)")
    arguments = parser.parse_args()
    workloads = {
        "short runs (1 min)": heavy_tailed(arguments.cells, mean_s=60, longest_s=600),
        "long runs (10 min)": heavy_tailed(arguments.cells, mean_s=600, longest_s=5400),
        "one run outlasts all": heavy_tailed(arguments.cells, mean_s=600, longest_s=36_000),
        "five repeats (1 min)": heavy_tailed(arguments.cells // 5, mean_s=60, longest_s=600, repeats=5),
        "a tenth on 4 GPUs": heavy_tailed(arguments.cells, mean_s=600, longest_s=5400, gang_share=0.1),
    }
    for name, workload in workloads.items():
        report = Simulation(workload, gpus=arguments.gpus).run()
        plain = Simulation(workload, gpus=arguments.gpus, keep_models=False).run()
        assert sorted(report.done) == sorted(run.key for run in workload.runs)
        saved = 1 - report.loads / plain.loads
        target = ROUNDS_TARGET if name.startswith("five repeats") else TARGET
        print(
            f"{name}: {report.makespan_s / 60:.0f} min, {report.over_bound:.3f} of the lower bound (at most {target}); "
            f"{report.loads} loads, {saved:.0%} fewer than longest-first alone ({plain.over_bound:.3f})"
        )
    workload = heavy_tailed(arguments.cells, mean_s=3600, longest_s=14_400)
    report = Simulation(workload, gpus=arguments.gpus, node_failures_per_hour=0.01).run()
    assert sorted(report.done) == sorted(run.key for run in workload.runs)
    print(
        f"1 % of nodes fail per hour: {report.failed_nodes} nodes failed in {report.makespan_s / HOUR_S:.1f} h, every "
        f"run done once, {report.repeated_share:.2%} of GPU time repeated (under {REPEATED_TARGET:.0%})"
    )


if __name__ == "__main__":
    main()
