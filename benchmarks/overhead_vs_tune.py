"""The driver's time per trivial cell, journal included, beside Ray Tune with reused actors on the same Ray cluster.

Both run tasks that do nothing, on 8 simulated GPUs, and store a result of each. The time is from the first result to
the last, so that it includes neither the start of processes nor the import of torch.

    python benchmarks/overhead_vs_tune.py              # 1,000 cells and 200 trials, two minutes
    python benchmarks/overhead_vs_tune.py --cells 200 --trials 100
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import trivial
from ray import tune

TARGET_S = 0.010
TARGET_RATIO = 15.0


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000, help="trivial cells, a multiple of 10 (default: 1000)")
    parser.add_argument("--trials", type=int, default=200, help="trivial Tune trials (default: 200)")
    arguments = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    trivial.start_ray()
    with tempfile.TemporaryDirectory() as folder:
        ours_s = trivial.run(arguments.cells, Path(folder))[0] / (arguments.cells - 1)
        tune_s = trial_s(arguments.trials, Path(folder))
    ray.shutdown()
    print(f"JouleGrid: {ours_s * 1e3:.2f} ms per cell, journal included (at most {TARGET_S * 1e3:.0f})")
    print(f"Ray Tune, reused actors: {tune_s * 1e3:.1f} ms per trial")
    print(f"ratio: {tune_s / ours_s:.1f} (at least {TARGET_RATIO:.0f})")
    print(json.dumps({"cell_s": ours_s, "trial_s": tune_s, "ratio": tune_s / ours_s}))


def trial_s(trials: int, folder: Path) -> float:
    """Seconds per Tune trial with `reuse_actors`, from its first completed trial to its last."""
    clock = _Clock()

    class Tick(tune.Callback):
        """Notes the end of each trial."""

        def on_trial_complete(self, **_: Any) -> None:
            """A trial has ended."""
            clock.tick()

    tuner = tune.Tuner(
        tune.with_resources(Nothing, {"cpu": 1, "gpu": 1}),
        param_space={"x": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=8),
        run_config=tune.RunConfig(storage_path=str(folder), name="tune", verbose=0, callbacks=[Tick()]),
    )
    assert len(tuner.fit()) == trials
    return clock.each_s


class Nothing(tune.Trainable):  # type: ignore[misc]
    """A trial that does nothing."""

    def step(self) -> dict[str, object]:
        """End at once."""
        return {"done": True, "x": self.config["x"]}

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Take the next trial in the same actor."""
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Load nothing."""


class _Clock:
    """Mean time between two ticks."""

    def __init__(self) -> None:
        self._ticks: list[float] = []

    def tick(self) -> None:
        self._ticks.append(time.perf_counter())

    @property
    def each_s(self) -> float:
        return (self._ticks[-1] - self._ticks[0]) / (len(self._ticks) - 1)


if __name__ == "__main__":
    main()
