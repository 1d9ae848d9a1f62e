"""Mutants that no test can kill, because the program does the same with them. See `tests.mutants`."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "orchestrator/aggregate/compute.py",
        "return flops_per_second / sum((rank.flops_per_second or 0.0) / (rank.mfu or 1.0) for rank in ranks)",
        "return flops_per_second / sum((rank.flops_per_second or 0.0) / (rank.mfu or 2.0) for rank in ranks)",
    ): "only the type checker needs the default: a rank without an MFU ended the function before",
    (
        "orchestrator/compare/levels.py",
        "for i in range(1, values.shape[2]):",
        "for i in range( 2, values.shape[2]):",
    ): "of two repeats or more, the better two are always included",
    (
        "orchestrator/schedule/backlog.py",
        "rank = (0, 0.0, place) if self._keep_order else (turn, -times.run_s, place)",
        "rank = (0, 1.0, place) if self._keep_order else (turn, -times.run_s, place)",
    ): "where the order is kept, every run has the same two numbers before its place",
    (
        "orchestrator/aggregate/energy_ranks.py",
        "powers = [s.energy_j / t if t > 0 else 0.0 for s, t in ((total, total.covered_s), (span, length_s))]",
        "powers = [s.energy_j / t if t != 0 else 0.0 for s, t in ((total, total.covered_s), (span, length_s))]",
    ): "no window is shorter than nothing",
    (
        "orchestrator/aggregate/energy_ranks.py",
        'return "rapl" if methods == {"rapl"} else "none"',
        'return "rapl" if methods <= {"rapl"} else "none"',
    ): "a run has at least one rank, so the set of methods is never empty",
    (
        "orchestrator/aggregate/energy_ranks.py",
        "energy_reasons=tuple(sorted(reasons | ({_SHARED_GPU} if shared else set()))),",
        "energy_reasons=tuple(sorted(reasons ^ ({_SHARED_GPU} if shared else set()))),",
    ): "no rank knows that others share its GPU, so the reason is never there twice",
    (
        "orchestrator/aggregate/spread.py",
        "return known[0]",
        "return known[ -1]",
    ): "the line before says that all of them are equal",
    (
        "orchestrator/aggregate/inference.py",
        "if len(runs) == 1:",
        "if len(runs) == 0:",
    ): "a shortcut: the mean of one run is that run",
    (
        "orchestrator/compare/changes.py",
        "places = np.array([p for p in range(left + 1, end) if sums.w[row, left] < sums.w[row, p] < sums.w[row, end]])",
        "places = np.array([p for p in range(left + 0, end) if sums.w[row, left] < sums.w[row, p] < sums.w[row, end]])",
    ): "the first position has not more weight before it than itself, so that the condition leaves it out",
    (
        "workers/window.py",
        "barrier_at = 0.0",
        "barrier_at = 1.0",
    ): "with a barrier the meter always comes to it, and without one the value is not used",
    (
        "orchestrator/compare/levels.py",
        (
            "own = (df * variance / _truncated_variance(safe / np.maximum(n, 1))).sum(axis=1) "
            "/ np.maximum(df.sum(axis=1), 1)"
        ),
        (
            "own = (df * variance / _truncated_variance(safe / np.maximum(n, 1))).sum(axis=1) "
            "/ np.maximum(df.sum(axis=1), 0)"
        ),
    ): "a cell of single repeats has no variance, and nothing to exclude",
    (
        "orchestrator/compare/levels.py",
        "shape = (len(samples), len(samples[0]) if samples else 0, max(most, 1))",
        "shape = (len(samples), len(samples[0]) if samples else 0, max(most, 2))",
    ): "a column without repeats changes nothing",
    (
        "orchestrator/compare/gate.py",
        'regression=verdict == "worse" and loss > rules.threshold,',
        'regression=verdict >= "worse" and loss > rules.threshold,',
    ): "no verdict comes after `worse` in the alphabet",
    (
        "orchestrator/compare/noise.py",
        "if differences.size == 0 or median(0.0) <= _MEDIAN_OF_SQUARE:",
        "if differences.size == 0 or median(0.0) == _MEDIAN_OF_SQUARE:",
    ): "the bisection comes to nothing as well",
    (
        "workers/energy/counter.py",
        "while end - 1 > i and self._tells(i, end - 1):",
        "while end + 1 > i and self._tells(i, end - 1):",
    ): "two steps that are one tell nothing, which ends the loop as well",
    (
        "workers/energy/gauge.py",
        "_watched_s: float = 0.0",
        "_watched_s: float = -1.0",
    ): "opening the gauge sets it",
    (
        "orchestrator/support.py",
        '_FLASH: dict[str, tuple[int, int]] = {"flash_attention_2": (8, 0), "flash_attention_3": (9, 0)}',
        '_FLASH: dict[str, tuple[int, int]] = {"flash_attention_2": (8, -1), "flash_attention_3": (9, 0)}',
    ): "no compute capability lies between",
    (
        "orchestrator/schedule/backlog.py",
        "if head.rank[0] == first.rank[0] or first.rank[0] == _LONG:",
        "if head.rank[0] == first.rank[0] or first.rank[0] <= _LONG:",
    ): "no round comes before that of the long runs",
    (
        "orchestrator/schedule/backlog.py",
        "if head.rank[0] == first.rank[0] or first.rank[0] == _LONG:",
        "if head.rank[0] <= first.rank[0] or first.rank[0] == _LONG:",
    ): "`first` has the least rank of all, so that no head's round comes before its own",
}
"""(module, line, mutated line) -> why no figure can show the difference. These mutants are not drawn."""
