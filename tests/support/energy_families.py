"""Families of windows, each with its own difficulty. `FAMILIES[name](Random(seed))` draws one of a family."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

from testbed.nvml_sim.virtual import BUSY, IDLE, STALLING, Load
from tests.support.energy_windows import Scenario, Shape


def _machine(rng: Random, **card: Any) -> dict[str, Any]:
    """A machine that is idle or busy, and a typical counter."""
    usual = {
        "period_s": rng.choice([0.02, 0.05, 0.1]),
        "lag_s": rng.choice([0.0, 0.02, 0.05, 0.12]),
        "read_s": rng.choice([5e-5, 2e-4, 1e-3]),
    }
    return {"load": rng.choice([IDLE, BUSY]), "idle_w": rng.uniform(30, 110), "card": {**usual, **card}}


def _level(rng: Random, least_s: float = 0.2, most_s: float = 2.0) -> Shape:
    return [(rng.uniform(least_s, most_s), rng.uniform(120, 700), 0.0)]


def level(rng: Random) -> Scenario:
    return Scenario(work=_level(rng), **_machine(rng))


def slow_fall(rng: Random) -> Scenario:
    machine = _machine(rng)
    return Scenario(work=_level(rng), after=[(0.0, machine["idle_w"], rng.uniform(0.01, 0.2))], **machine)


def glow(rng: Random) -> Scenario:
    """The work ends before the window, and the power then decays exponentially."""
    machine = _machine(rng)
    idle_w, over_w, tau_s = machine["idle_w"], rng.uniform(10, 120), rng.uniform(0.03, 0.3)
    fall = [(0.01, idle_w + over_w * math.exp(-k * 0.01 / tau_s), 0.0) for k in range(150)]
    early = rng.randrange(6)  # times 10 ms
    return Scenario(work=[*_level(rng), *fall[:early]], after=[*fall[early:], (0.0, idle_w, 0.0)], **machine)


def work_before(rng: Random) -> Scenario:
    """The card worked until the meter started to watch; since then its power falls."""
    machine = _machine(rng)
    fall = [(0.0, machine["idle_w"], rng.choice([0.0, 0.02, 0.1]))]
    return Scenario(earlier=_level(rng), meanwhile=fall, work=_level(rng), **machine)


def ramp_before(rng: Random) -> Scenario:
    """The power changes while the meter waits for it to be level, often for longer than the meter waits."""
    machine = _machine(rng)
    factor, step_s = rng.uniform(0.7, 1.4), rng.uniform(0.02, 0.15)
    first_w = machine["idle_w"] if factor > 1 else 400
    ramp = [(step_s, min(600, first_w * factor**k), rng.choice([0.0, step_s])) for k in range(rng.randint(2, 20))]
    return Scenario(meanwhile=ramp, work=_level(rng), **machine)


def steps_within(rng: Random) -> Scenario:
    work = [(rng.uniform(0.005, 0.1), rng.uniform(70, 600), 0.0) for _ in range(rng.randint(5, 40))]
    return Scenario(work=work, **_machine(rng))


def steps_and_fall(rng: Random) -> Scenario:
    """The power varies within the window and falls slowly after it."""
    machine = _machine(rng, faults=rng.choice([{}, {"instant_power_w": "not_supported"}]))
    work = [(rng.uniform(0.005, 0.3), rng.uniform(70, 600), 0.0) for _ in range(rng.randint(2, 12))]
    return Scenario(work=work, after=[(0.0, machine["idle_w"], rng.uniform(0.01, 0.2))], **machine)


def many_cards(rng: Random) -> Scenario:
    """Several cards, read in turn, so that each step is observed late."""
    return Scenario(work=_level(rng), cards=rng.choice([2, 4, 8]), **_machine(rng))


def short(rng: Random) -> Scenario:
    return Scenario(work=_level(rng, 0.03, 0.2), **_machine(rng))


def noise(rng: Random) -> Scenario:
    """Noisy power before, in and after the window."""
    machine = _machine(rng)
    share, step_s = rng.uniform(0.005, 0.1), rng.uniform(0.003, 0.03)

    def around(watts: float, seconds: float) -> Shape:
        return [(step_s, watts * rng.gauss(1, share), 0.0) for _ in range(max(1, round(seconds / step_s)))]

    work = around(rng.uniform(120, 700), rng.uniform(0.2, 2))
    return Scenario(meanwhile=around(machine["idle_w"], 2), work=work, after=around(machine["idle_w"], 2), **machine)


def stalls(rng: Random) -> Scenario:
    """A machine that sometimes stalls the meter for up to 0.3 s."""
    return Scenario(work=_level(rng), **{**_machine(rng), "load": STALLING})


def stalls_and_fall(rng: Random) -> Scenario:
    """A machine that stalls often, also right after the work while the power falls."""
    machine = _machine(rng, faults=rng.choice([{}, {"instant_power_w": "not_supported"}]))
    after = [(0.0, machine["idle_w"], rng.uniform(0.01, 0.2))]
    load = Load(wake_s=0.001, slice_share=0.003, stall_share=0.01)
    return Scenario(work=_level(rng), after=after, **{**machine, "load": load})


def other_idle_power(rng: Random) -> Scenario:
    """The idle power differs after the work: the clocks stay up for a while."""
    machine = _machine(rng)
    later_idle_w = machine["idle_w"] * rng.uniform(0.8, 2.5)
    after = [(rng.uniform(0.1, 2), later_idle_w, 0.0), (0.0, machine["idle_w"], 0.0)]
    return Scenario(work=_level(rng), after=after, **machine)


def odd_counters(rng: Random) -> Scenario:
    """Counters that step late, lag, average or are coarse, and sensors that hold, average or are missing."""
    odd: dict[str, Any] = rng.choice(
        [
            {"jitter_s": rng.uniform(0.001, 0.03), "period_s": 0.1},
            {"lag_s": rng.uniform(0, 0.15)},
            {"smear_s": rng.uniform(0.01, 0.1), "lag_s": rng.uniform(0, 0.05)},
            {"quantum_mj": rng.choice([10, 100, 1000])},
            {"faults": {"instant_power_w": "not_supported"}},
            {"instant_hold_s": rng.uniform(0.02, 0.1)},
            {"instant_average_s": rng.uniform(0.01, 0.1)},
        ]
    )
    machine = _machine(rng, **odd)
    after = [(0.0, machine["idle_w"], rng.choice([0.0, 0.0, 0.05, 0.1]))]
    return Scenario(work=_level(rng), after=after, **machine)


def sampled(rng: Random) -> Scenario:
    """No counter: a separate process samples the instant power."""
    return Scenario(work=_level(rng), **_machine(rng, faults={"energy_mj": "not_supported"}))


def averaged(rng: Random) -> Scenario:
    """No counter, and only an average power over the last second."""
    faults = {"energy_mj": "not_supported", "instant_power_w": "not_supported"}
    return Scenario(work=_level(rng), **_machine(rng, faults=faults))


FAMILIES: dict[str, Callable[[Random], Scenario]] = {
    family.__name__: family
    for family in (
        level, slow_fall, glow, work_before, ramp_before, steps_within, steps_and_fall, many_cards, short, noise,
        stalls, stalls_and_fall, other_idle_power, odd_counters, sampled, averaged,
    )
}  # fmt: skip
