from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.commands.compare import main
from orchestrator.results.rows import AggregatedResult
from tests.support.compared import FIGURES, Write, compared, reasons, slowed, snapshot, verdicts
from tests.support.snapshot_rows import LEVELS, noisy, row


def test_two_equal_snapshots_pass(write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = compared(capsys, write("a", snapshot(rng)), write("b", snapshot(rng)))

    assert (code, report["passed"], report["judged"]) == (0, True, 72)
    assert {c["verdict"] for c in report["comparisons"]} == {"no difference"}


def test_a_loss_beyond_the_threshold_fails_and_is_the_first_line(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng, slow={3: {"output_tokens_per_s": 0.85}}))

    assert main([a, b]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(
        "FAILED: 1 regression in 1 cell, the largest tiny bf16 batch 4, 128+32 output_tokens_per_s -1"
    )
    assert " to " in first


@pytest.mark.parametrize("figure", FIGURES)
def test_each_figure_knows_which_way_is_worse(
    figure: str, write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    up = write("up", snapshot(rng, slow={3: {figure: 1.2}}))
    code, report = compared(capsys, write("a", snapshot(rng)), up)

    expected = "better" if figure == "output_tokens_per_s" else "worse"
    assert verdicts(report, 3)[figure] == expected
    assert code == (expected == "worse")


def test_a_loss_within_the_threshold_is_reported_and_passes(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng, slow={3: {"ttft_s": 1.12}}))
    code, report = compared(capsys, a, b, "--threshold", "0.3")

    assert (code, verdicts(report, 3)["ttft_s"]) == (0, "worse")


def test_the_interval_holds_the_true_ratio(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    b = write("b", snapshot(rng, slow={i: {"ttft_s": 1.5} for i in range(12)}))
    _, report = compared(capsys, write("a", snapshot(rng)), b)

    intervals = [(c["ratio_low"], c["ratio_high"]) for c in report["comparisons"] if c["figure"] == "ttft_s"]
    assert all(low < 1.5 < high for low, high in intervals)


@pytest.mark.parametrize(
    ("differs", "word", "spared"),
    [
        ({"driver_version": "575.2"}, "driver", {"peak_memory_mb"}),
        ({"gpu_names": ("NVIDIA A100",)}, "card", set()),
        ({"device": "cpu"}, "device", set()),
        ({"energy_method": "nvml_power"}, "energy-method", {*FIGURES} - {"energy_per_output_token_j"}),
        ({"energy_confidence": "low"}, "energy-confidence", {*FIGURES} - {"energy_per_output_token_j"}),
        ({"memory_method": None}, "memory-method", {*FIGURES} - {"peak_memory_mb"}),
        ({"timing_method": "perf_counter"}, "timing-method", {"energy_per_output_token_j", "peak_memory_mb"}),
        ({"mixed": ("driver_version",)}, "mixed", {"peak_memory_mb"}),
        ({"mixed": ("torch_version",)}, "mixed", set()),
    ],
)
def test_a_difference_in_what_must_match_prevents_the_comparison_and_is_named(  # noqa: PLR0917 - pytest calls it by names
    differs: dict[str, Any],
    word: str,
    spared: set[str],
    write: Write,
    rng: np.random.Generator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng, odd={3: differs}))
    code, report = compared(capsys, a, b)

    assert code == 0
    not_comparable = {figure for figure, verdict in verdicts(report, 3).items() if verdict == "not comparable"}
    assert not_comparable == {*FIGURES} - spared
    assert all(word in c["reason"] for c in report["comparisons"] if c["verdict"] == "not comparable")
    _, across = compared(capsys, a, b, "--across", word)
    assert set(verdicts(across).values()) == {"no difference"}


def test_another_torch_is_reported_and_does_not_prevent_a_comparison(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = compared(capsys, write("a", snapshot(rng)), write("b", snapshot(rng, torch_version="2.14.0")))

    assert report["stated"] == ["torch 2.13.0 -> 2.14.0 (12 cells)"]
    assert report["judged"] == 72


def test_a_gate_that_compares_nothing_does_not_pass(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng, gpu_names=("NVIDIA A100",)))

    assert main([a, b]) == 2
    assert capsys.readouterr().out.startswith("NOTHING COMPARED")


def test_a_cell_that_stopped_working_fails(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {3: {"status": "oom", "error_type": "OutOfMemoryError", "error_message": "2 GiB"}}
    code, report = compared(capsys, write("a", snapshot(rng)), write("b", snapshot(rng, odd=broken)))

    assert code == 1
    assert report["newly_failing"][0]["detail"] == "oom: OutOfMemoryError: 2 GiB"


def test_a_cell_that_works_again_passes_and_so_does_one_that_still_fails(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"status": "failed", "error_type": "ValueError"}
    a, b = write("a", snapshot(rng, odd={3: broken, 4: broken})), write("b", snapshot(rng, odd={4: broken}))
    code, report = compared(capsys, a, b)

    assert code == 0
    assert [c["cell_id"][-1] for c in report["newly_ok"]] == ["3"]
    assert [c["cell_id"][-1] for c in report["still_failing"]] == ["4"]


def test_a_cell_that_is_gone_fails_unless_allowed_and_a_new_one_is_named(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", snapshot(rng, range(12))), write("b", snapshot(rng, range(1, 13)))
    code, report = compared(capsys, a, b)

    assert code == 1
    assert [c["cell_id"] for c in report["gone"]] == [f"{0:016x}"]
    assert [c["cell_id"] for c in report["new"]] == [f"{12:016x}"]
    assert main([a, b, "--allow-gone"]) == 0


def test_a_missing_figure_is_not_comparable_and_the_reason_is_named(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = snapshot(rng)
    rows[3] = row(3, {**noisy(rng), "energy_per_output_token_j": []}, energy_reasons=("no_permission",))
    _, report = compared(capsys, write("a", snapshot(rng)), write("b", rows))

    (reason,) = [c["reason"] for c in report["comparisons"] if c["reason"]]
    assert reason == "no value in the candidate (no permission to read NVML)"


def test_a_single_repeat_uses_the_noise_of_the_other_cells_and_is_doubtful(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = snapshot(rng)
    rows[3] = row(3, noisy(rng, repeats=1, ttft_s=1.4))
    a, b = write("a", snapshot(rng)), write("b", rows)
    code, report = compared(capsys, a, b)

    assert (code, verdicts(report, 3)["ttft_s"]) == (0, "doubtful")
    assert reasons(report) == {"a single repeat in the candidate"}
    assert compared(capsys, a, b, "--burst", "0")[0] == 1


def test_repeats_within_one_burst_prove_no_loss_and_the_text_says_so(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = {3: {"output_tokens_per_s": 0.7}}
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng, slow=slow, odd={3: {"apart_s": 2.0}}))
    code, report = compared(capsys, a, b)

    assert (code, verdicts(report, 3)["output_tokens_per_s"]) == (0, "doubtful")
    assert reasons(report) == {"all repeats in the candidate began within 8 s"}
    assert main([a, b]) == 0
    assert "5 cannot fail (repeats may share one burst)" in capsys.readouterr().out
    assert main([a, b, "--burst", "8"]) == 1


def test_a_gate_that_cannot_fail_does_not_pass(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", snapshot(rng, apart_s=2.0)), write("b", snapshot(rng, apart_s=2.0))

    assert main([a, b]) == 2
    assert capsys.readouterr().out.startswith("NOTHING CERTAIN: one burst of load (up to 60 s)")


def test_the_verdict_is_green_only_if_the_gate_passed(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    a, b = write("a", snapshot(rng)), write("b", snapshot(rng))
    close_together, slow = write("c", snapshot(rng, apart_s=2.0)), write("d", snapshot(rng, slow={3: {"ttft_s": 1.5}}))
    for candidate, colour in ((b, 32), (close_together, 33), (slow, 31)):
        main([a, candidate])
        assert capsys.readouterr().out.startswith(f"\x1b[1;{colour}m")


def test_a_burst_that_slows_two_of_five_repeats_neither_fails_nor_hides_a_loss(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    def hit(rows: list[AggregatedResult]) -> list[AggregatedResult]:
        return [slowed(each, by=1.6, repeats=(1, 2)) for each in rows]

    a = write("a", snapshot(rng))
    code, report = compared(capsys, a, write("b", hit(snapshot(rng))))
    assert (code, {c["candidate_repeats"] for c in report["comparisons"]} - {5}) == (0, {3})
    assert "24 of 120 repeats (0 in the baseline, 24 in the candidate)" in report["notes"][0]

    code, report = compared(capsys, a, write("c", hit(snapshot(rng, slow={3: {"ttft_s": 1.12}}))))
    assert (code, verdicts(report, 3)["ttft_s"]) == (1, "worse")


def test_a_cell_with_excluded_repeats_is_named_and_its_level_states_the_included_ones(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = snapshot(rng, slow={3: {"ttft_s": 1.2}})
    rows[3] = slowed(rows[3], by=1.6, repeats=(1, 2))
    code = main([write("a", snapshot(rng)), write("b", rows), "--format", "markdown"])
    out = capsys.readouterr().out

    assert code == 1
    (worse,) = [line for line in out.splitlines() if line.startswith("| ") and " | ttft\\_s | +" in line]
    assert worse.endswith(" s (3 of 5 repeats) |")
    assert worse.count("repeats)") == 1, "the baseline's level is over all of its repeats"
    assert "The most are in tiny bf16 batch 4, 128+32: 0 in the baseline, 2 in the candidate" in out


def test_the_resident_set_of_a_process_is_neither_compared_nor_listed(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    def cpu(**slow: float) -> list[AggregatedResult]:
        return snapshot(rng, memory_method="process_rss", slow=dict.fromkeys(range(12), slow))

    a, b = write("a", cpu()), write("b", cpu(peak_memory_mb=1.5))
    code, report = compared(capsys, a, b)
    assert code == 0
    assert "peak_memory_mb" not in verdicts(report)

    _, report = compared(capsys, write("gpu", snapshot(rng)), b, "--across", "memory-method")
    assert verdicts(report)["peak_memory_mb"] == "not comparable"


def test_single_repeats_everywhere_are_not_comparable(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", snapshot(rng, repeats=1)), write("b", snapshot(rng, repeats=1))
    code, report = compared(capsys, a, b)

    assert code == 2
    assert all("one repeat" in c["reason"] for c in report["comparisons"])


def test_figures_that_repeat_exactly_are_still_compared(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    def exact(factor: float) -> list[AggregatedResult]:
        return [row(i, {name: [level * factor] * 5 for name, level in LEVELS.items()}) for i in range(5)]

    code, report = compared(capsys, write("a", exact(1.0)), write("b", exact(1.1)))

    assert code == 1
    assert set(verdicts(report).values()) == {"worse", "better"}


def test_changed_flops_and_perplexity_are_reported_and_do_not_fail(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write("a", snapshot(rng, perplexity=10.0))
    odd = {3: {"flops_value": 2e12}, 4: {"perplexity": 11.0}, 5: {"flops_confidence": "low", "flops_value": 3e12}}
    code, report = compared(capsys, a, write("b", snapshot(rng, perplexity=10.0, odd=odd)))

    assert code == 0
    facts = {(int(f["cell"]["cell_id"], 16), f["figure"]): (f["ratio"], f["reason"]) for f in report["facts"]}
    assert facts == {
        (3, "flops_value"): (2.0, None),
        (4, "perplexity"): (1.1, None),
        (5, "flops_value"): (None, "flops-confidence: high -> low"),
    }


def test_cells_that_scatter_more_than_their_repeats_explain_give_a_warning(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    shaken = {i: {"ttft_s": float(np.exp(0.05 * rng.normal()))} for i in range(60)}
    a, b = write("a", snapshot(rng, range(60))), write("b", snapshot(rng, range(60), slow=shaken))
    _, report = compared(capsys, a, b)

    (note,) = report["notes"]
    assert note.startswith("ttft_s: cells scatter")


def test_earlier_snapshots_that_scatter_widen_the_intervals(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for day in range(8):
        shaken = {i: {"ttft_s": float(np.exp(0.05 * rng.normal()))} for i in range(20)}
        write(f"earlier/{day}", snapshot(rng, range(20), day=day + 1, slow=shaken))
    a, b = write("a", snapshot(rng, range(20))), write("b", snapshot(rng, range(20), slow={3: {"ttft_s": 1.12}}))

    assert main([a, b]) == 1
    capsys.readouterr()
    code, report = compared(capsys, a, b, "--nights", str(tmp_path / "earlier"))
    assert code == 0
    assert report["between_night_noise"]["ttft_s"] == pytest.approx(0.05, rel=0.2)
