"""The logic that figures depend on, and the tests that answer for it. See `tests.mutants`."""

_AGGREGATE = "tests/orchestrator/aggregate/"
_COSTS = "tests/orchestrator/costs/"
_COMPARE = "tests/orchestrator/compare/"
_ENERGY = "tests/workers/energy/"
_FORMULAS = f"{_AGGREGATE}test_formulas.py"
_COUNTER = (f"{_ENERGY}test_counter_by_hand.py", f"{_ENERGY}test_counter.py")
_GAUGES = (f"{_ENERGY}test_energy_faults.py", f"{_ENERGY}test_meter.py", f"{_ENERGY}test_idle.py")
_GATE = (f"{_COMPARE}test_gate.py", "tests/orchestrator/commands/test_compare.py")

OWN_TESTS: dict[str, tuple[str, ...]] = {
    "orchestrator/aggregate/__init__.py": (_FORMULAS, f"{_AGGREGATE}test_aggregate.py"),
    "orchestrator/aggregate/compute.py": (_FORMULAS, f"{_AGGREGATE}test_aggregate.py"),
    "orchestrator/aggregate/energy.py": (_FORMULAS, f"{_AGGREGATE}test_aggregate.py"),
    "orchestrator/aggregate/energy_ranks.py": (f"{_AGGREGATE}test_energy_ranks.py", f"{_AGGREGATE}test_aggregate.py"),
    "orchestrator/aggregate/inference.py": (_FORMULAS, f"{_AGGREGATE}test_aggregate.py"),
    "orchestrator/aggregate/spread.py": (f"{_AGGREGATE}test_spread.py",),
    "orchestrator/aggregate/windows.py": (
        _FORMULAS,
        f"{_AGGREGATE}test_energy_ranks.py",
        f"{_AGGREGATE}test_aggregate.py",
    ),
    "orchestrator/costs/cards.py": (f"{_COSTS}test_cards.py", f"{_COSTS}test_utilisation.py"),
    "orchestrator/costs/utilisation.py": (f"{_COSTS}test_utilisation.py", f"{_COSTS}test_with_cost.py"),
    "orchestrator/costs/verdict.py": (f"{_COSTS}test_verdict.py",),
    "orchestrator/costs/footprint.py": (f"{_COSTS}test_footprint.py",),
    "orchestrator/costs/duration.py": (f"{_COSTS}test_duration.py",),
    "orchestrator/costs/closed_form.py": (f"{_COSTS}test_formulas.py", f"{_COSTS}test_closed_form.py"),
    "orchestrator/costs/options.py": (f"{_COSTS}test_formulas.py", f"{_COSTS}test_options.py"),
    "orchestrator/schedule/backlog.py": ("tests/orchestrator/schedule/test_backlog.py",),
    "orchestrator/schedule/node_health.py": ("tests/orchestrator/schedule/test_node_health.py",),
    "orchestrator/schedule/retries.py": ("tests/orchestrator/schedule/test_retries.py",),
    "orchestrator/compare/gate.py": _GATE,
    "orchestrator/compare/comparable.py": _GATE,
    "orchestrator/compare/levels.py": (f"{_COMPARE}test_levels.py",),
    "orchestrator/compare/noise.py": (f"{_COMPARE}test_noise.py",),
    "orchestrator/compare/changes.py": (f"{_COMPARE}test_changes.py",),
    "orchestrator/grid.py": ("tests/orchestrator/test_grid.py",),
    "orchestrator/support.py": ("tests/orchestrator/test_support.py",),
    "workers/records/precision.py": ("tests/workers/records/test_precision.py",),
    "workers/records/inference.py": ("tests/workers/records/test_inference.py", "tests/workers/test_latency.py"),
    "workers/window.py": ("tests/workers/test_window.py",),
    "workers/latency.py": ("tests/workers/test_latency.py",),
    "workers/warmup.py": ("tests/workers/test_warmup.py",),
    "workers/energy/counter.py": (*_COUNTER, *_GAUGES, f"{_ENERGY}test_coverage.py"),
    "workers/energy/gauge.py": (f"{_ENERGY}test_gauge.py", *_GAUGES, f"{_ENERGY}test_coverage.py"),
    "workers/energy/idle.py": (f"{_ENERGY}test_idle.py",),
}
"""Module -> the tests that answer for its figures, the quickest first."""
