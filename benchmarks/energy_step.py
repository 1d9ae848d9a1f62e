"""How accurate is the energy of a short window? JouleGrid and zeus on the same simulated cards in the same run.

A card idles at 60 W, works at 350 W during the window, and idles again; its energy counter steps every 100 ms, at a
random phase. The cards are SIMULATED (`testbed/nvml_sim`): a C library that unmodified pynvml loads, so both meters
read the same counters and the true energy is known exactly. Real cards also have noise and falling power, which this
table does not show. For each window length and meter: the mean of |error|, the bias, how often the true energy was
within the stated uncertainty (zeus states none), and the time beyond the window's length.

    python benchmarks/energy_step.py                 # needs `cc` and the `bench` extra; takes about two minutes
    python benchmarks/energy_step.py --windows 100   # 100 windows per length and meter
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import fmean

sys.path[:0] = [str(Path(__file__).parents[1])]
from testbed.nvml_sim import Simulation  # noqa: E402 - needs the line above

_MEASURE = r"""
import json, logging, random, sys, time, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.WARNING)
from testbed.nvml_sim import Simulation
from workers.energy import EnergyMeter
from zeus.monitor import ZeusMonitor

sim = Simulation.attach()
card = sim[0]
ours = EnergyMeter([sim.uuid()])
zeus = ZeusMonitor(gpu_indices=[0], cpu_indices=[])

def work(seconds):
    start = card.power(350)
    time.sleep(seconds)
    return start, card.power(60)

def joulegrid(seconds):
    ours.begin()
    moments = work(seconds)
    energy = ours.end()
    return moments, energy.gpu_energy_j, energy.gpu_energy_uncertainty_j

def peer(seconds):
    zeus.begin_window("w", sync_execution=False)
    moments = work(seconds)
    return moments, zeus.end_window("w", sync_execution=False).gpu_energy[0], None

windows, lengths = json.loads(sys.argv[1])
random.seed(0)
for length in lengths:
    for name, meter in (("joulegrid", joulegrid), ("zeus", peer)):
        for _ in range(windows):
            time.sleep(0.2 + random.random() * 0.1)  # the counter's phase differs each time, and the card is idle
            began = time.monotonic_ns()
            (start, end), energy, uncertainty = meter(length)
            extra_s = (time.monotonic_ns() - began - (end - start)) / 1e9
            print(json.dumps([length, name, energy, uncertainty, card.true_energy_j(start, end), extra_s]), flush=True)
"""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=20, help="windows per length and meter")
    parser.add_argument("--lengths", type=float, nargs="+", default=[0.2, 0.5, 1.0], help="window lengths, s")
    parser.add_argument("--json", type=Path, help="write the figures of every window to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cards = Simulation(Path(folder))
        code = f"import sys; sys.argv = ['', {json.dumps([args.windows, args.lengths])!r}]\n{_MEASURE}"
        printed = cards.python(code, timeout_s=60 + 6 * args.windows * sum(2 + x for x in args.lengths))
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("[")]
    print(
        f"simulated: 60 -> 350 -> 60 W, counter period 100 ms, {args.windows} windows each, {os.cpu_count()} CPU cores"
    )
    print(f"{'window':>7}  {'meter':10}{'mean |error|':>13}{'bias':>9}{'stated +-':>11}{'covered':>9}{'beyond':>9}")
    for length in args.lengths:
        for meter in ("joulegrid", "zeus"):
            print(_line(length, meter, [row[2:] for row in rows if row[:2] == [length, meter]]))
    if args.json:
        keys = ("window_s", "meter", "energy_j", "uncertainty_j", "true_energy_j", "beyond_s")
        args.json.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))


def _line(length: float, meter: str, windows: list[list[float]]) -> str:
    errors = [energy / true - 1 for energy, _, true, _ in windows]
    stated = [u / true for _, u, true, _ in windows if u is not None]
    covered = [abs(energy - true) <= u for energy, u, true, _ in windows if u is not None]
    return (
        f"{length:5.1f} s  {meter:10}{fmean(map(abs, errors)):13.2%}{fmean(errors):9.2%}"
        + (f"{fmean(stated):11.2%}{sum(covered):5}/{len(covered):<3}" if stated else f"{'none':>11}{'-':>9}")
        + f"{fmean(extra for *_, extra in windows):7.2f} s"
    )


if __name__ == "__main__":
    main()
