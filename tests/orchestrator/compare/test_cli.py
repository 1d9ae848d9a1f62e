import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from night_rows import DAY_S, LEVELS, noisy, row

from orchestrator.compare import main
from orchestrator.results import AggregatedResult, Statistics
from orchestrator.statistics import spread

Write = Callable[[str, list[AggregatedResult]], str]
FIGURES = list(LEVELS)


def night(rng: np.random.Generator, cells: range = range(12), day: int = 1, **differs: Any) -> list[AggregatedResult]:
    """A night of equal cells; `slow` maps a cell to what its figures are multiplied by, `odd` to what its row says."""
    slow, odd = differs.pop("slow", {}), differs.pop("odd", {})
    repeats = differs.pop("repeats", 5)
    return [
        row(
            i,
            noisy(rng, repeats=repeats, **slow.get(i, {})),
            **{"started_unix_s": day * DAY_S, **differs, **odd.get(i, {})},
        )
        for i in cells
    ]


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main([*arguments, "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def verdicts(report: dict[str, Any], cell: int | None = None) -> dict[str, str]:
    return {
        c["figure"]: c["verdict"]
        for c in report["comparisons"]
        if cell is None or c["cell"]["cell_id"] == f"{cell:016x}"
    }


def reasons(report: dict[str, Any]) -> set[str]:
    return {c["reason"] for c in report["comparisons"] if c["reason"]}


def slowed(of: AggregatedResult, *, by: float, repeats: tuple[int, ...]) -> AggregatedResult:
    """The row of a night on which a burst of load hit these repeats."""
    figures = {}
    for name in FIGURES:
        values = getattr(of.statistics, f"{name}_over_repeats").values
        factor = {"output_tokens_per_s": 1 / by, "peak_memory_mb": 1.0}.get(name, by)
        hit = [value * factor if i in repeats else value for i, value in enumerate(values)]
        figures[f"{name}_over_repeats"] = spread(hit)
    return of.model_copy(update={"statistics": Statistics(**figures)})


def test_two_equal_nights_pass(write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = compared(capsys, write("a", night(rng)), write("b", night(rng)))

    assert (code, report["passed"], report["judged"]) == (0, True, 72)
    assert {c["verdict"] for c in report["comparisons"]} == {"no difference"}


def test_a_loss_beyond_the_threshold_fails_and_leads_the_text(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", night(rng)), write("b", night(rng, slow={3: {"output_tokens_per_s": 0.85}}))

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
    up = write("up", night(rng, slow={3: {figure: 1.2}}))
    code, report = compared(capsys, write("a", night(rng)), up)

    expected = "better" if figure == "output_tokens_per_s" else "worse"
    assert verdicts(report, 3)[figure] == expected
    assert code == (expected == "worse")


def test_a_loss_within_the_threshold_is_stated_and_passes(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", night(rng)), write("b", night(rng, slow={3: {"ttft_s": 1.12}}))
    code, report = compared(capsys, a, b, "--threshold", "0.3")

    assert (code, verdicts(report, 3)["ttft_s"]) == (0, "worse")


def test_the_interval_holds_the_true_ratio(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    b = write("b", night(rng, slow={i: {"ttft_s": 1.5} for i in range(12)}))
    _, report = compared(capsys, write("a", night(rng)), b)

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
def test_what_must_match_forbids_the_comparison_and_is_said(  # noqa: PLR0917 - pytest calls it by names
    differs: dict[str, Any],
    word: str,
    spared: set[str],
    write: Write,
    rng: np.random.Generator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = write("a", night(rng)), write("b", night(rng, odd={3: differs}))
    code, report = compared(capsys, a, b)

    assert code == 0
    found = {figure for figure, verdict in verdicts(report, 3).items() if verdict == "not comparable"}
    assert found == {*FIGURES} - spared
    assert all(word in c["reason"] for c in report["comparisons"] if c["verdict"] == "not comparable")
    _, lifted = compared(capsys, a, b, "--across", word)
    assert set(verdicts(lifted).values()) == {"no difference"}


def test_another_torch_is_stated_and_forbids_nothing(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = compared(capsys, write("a", night(rng)), write("b", night(rng, torch_version="2.14.0")))

    assert report["stated"] == ["torch 2.13.0 -> 2.14.0 (12 cells)"]
    assert report["judged"] == 72


def test_a_gate_that_could_compare_nothing_does_not_pass(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", night(rng)), write("b", night(rng, gpu_names=("NVIDIA A100",)))

    assert main([a, b]) == 2
    assert capsys.readouterr().out.startswith("NOTHING COMPARED")


def test_a_cell_that_stopped_working_fails_the_night(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {3: {"status": "oom", "error_type": "OutOfMemoryError", "error_message": "2 GiB"}}
    code, report = compared(capsys, write("a", night(rng)), write("b", night(rng, odd=broken)))

    assert code == 1
    assert report["newly_failing"][0]["detail"] == "oom: OutOfMemoryError: 2 GiB"


def test_a_cell_that_works_again_passes_and_one_that_still_fails_too(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"status": "failed", "error_type": "ValueError"}
    a, b = write("a", night(rng, odd={3: broken, 4: broken})), write("b", night(rng, odd={4: broken}))
    code, report = compared(capsys, a, b)

    assert code == 0
    assert [c["cell_id"][-1] for c in report["newly_ok"]] == ["3"]
    assert [c["cell_id"][-1] for c in report["still_failing"]] == ["4"]


def test_a_cell_that_vanished_fails_unless_it_may_and_a_new_one_is_named(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", night(rng, range(12))), write("b", night(rng, range(1, 13)))
    code, report = compared(capsys, a, b)

    assert code == 1
    assert [c["cell_id"] for c in report["gone"]] == [f"{0:016x}"]
    assert [c["cell_id"] for c in report["new"]] == [f"{12:016x}"]
    assert main([a, b, "--allow-gone"]) == 0


def test_a_missing_figure_is_not_comparable_and_says_why(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = night(rng)
    rows[3] = row(3, {**noisy(rng), "energy_per_output_token_j": []}, energy_reasons=("no_permission",))
    _, report = compared(capsys, write("a", night(rng)), write("b", rows))

    (reason,) = [c["reason"] for c in report["comparisons"] if c["reason"]]
    assert reason == "no figure on the candidate (reading is not permitted)"


def test_a_single_repeat_borrows_the_other_cells_noise_and_is_doubtful(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = night(rng)
    rows[3] = row(3, noisy(rng, repeats=1, ttft_s=1.4))
    a, b = write("a", night(rng)), write("b", rows)
    code, report = compared(capsys, a, b)

    assert (code, verdicts(report, 3)["ttft_s"]) == (0, "doubtful")
    assert reasons(report) == {"a single repeat on the candidate"}
    assert compared(capsys, a, b, "--burst", "0")[0] == 1


def test_repeats_side_by_side_prove_no_loss_and_say_so(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = {3: {"output_tokens_per_s": 0.7}}
    a, b = write("a", night(rng)), write("b", night(rng, slow=slow, odd={3: {"apart_s": 2.0}}))
    code, report = compared(capsys, a, b)

    assert (code, verdicts(report, 3)["output_tokens_per_s"]) == (0, "doubtful")
    assert reasons(report) == {"the candidate's repeats all began within 8 s"}
    assert main([a, b]) == 0
    assert "5 rest on repeats side by side" in capsys.readouterr().out
    assert main([a, b, "--burst", "8"]) == 1


def test_a_gate_that_no_loss_could_fail_does_not_pass(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", night(rng, apart_s=2.0)), write("b", night(rng, apart_s=2.0))

    assert main([a, b]) == 2
    assert capsys.readouterr().out.startswith("NOTHING CERTAIN: one burst of load (up to 60 s)")


def test_the_verdict_is_green_only_where_the_gate_passed(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    a, b = write("a", night(rng)), write("b", night(rng))
    side_by_side, slow = write("c", night(rng, apart_s=2.0)), write("d", night(rng, slow={3: {"ttft_s": 1.5}}))
    for candidate, colour in ((b, 32), (side_by_side, 33), (slow, 31)):
        main([a, candidate])
        assert capsys.readouterr().out.startswith(f"\x1b[1;{colour}m")


def test_a_burst_that_slows_two_of_five_repeats_neither_fails_the_night_nor_hides_a_loss(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    def hit(rows: list[AggregatedResult]) -> list[AggregatedResult]:
        return [slowed(each, by=1.6, repeats=(1, 2)) for each in rows]

    a = write("a", night(rng))
    code, report = compared(capsys, a, write("b", hit(night(rng))))
    assert (code, {c["candidate_repeats"] for c in report["comparisons"]} - {5}) == (0, {3})
    assert "24 of 120 repeats (0 on the baseline, 24 on the candidate)" in report["notes"][0]

    code, report = compared(capsys, a, write("c", hit(night(rng, slow={3: {"ttft_s": 1.12}}))))
    assert (code, verdicts(report, 3)["ttft_s"]) == (1, "worse")


def test_a_cell_whose_repeats_fail_now_and_then_is_named_and_its_level_says_what_it_is_over(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = night(rng, slow={3: {"ttft_s": 1.2}})
    rows[3] = slowed(rows[3], by=1.6, repeats=(1, 2))
    code = main([write("a", night(rng)), write("b", rows), "--format", "markdown"])
    out = capsys.readouterr().out

    assert code == 1
    (worse,) = [line for line in out.splitlines() if line.startswith("| ") and " | ttft\\_s | +" in line]
    assert worse.endswith(" s (3 of 5 repeats) |")
    assert worse.count("repeats)") == 1, "the baseline's level is over all of its repeats"
    assert "the most in tiny bf16 batch 4, 128+32: 0 on the baseline, 2 on the candidate" in out


def test_a_process_resident_set_is_neither_judged_nor_listed(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    def cpu(**slow: float) -> list[AggregatedResult]:
        return night(rng, memory_method="process_rss", slow=dict.fromkeys(range(12), slow))

    a, b = write("a", cpu()), write("b", cpu(peak_memory_mb=1.5))
    code, report = compared(capsys, a, b)
    assert code == 0
    assert "peak_memory_mb" not in verdicts(report)

    _, report = compared(capsys, write("gpu", night(rng)), b, "--across", "memory-method")
    assert verdicts(report)["peak_memory_mb"] == "not comparable"


def test_single_repeats_everywhere_are_not_comparable(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a", night(rng, repeats=1)), write("b", night(rng, repeats=1))
    code, report = compared(capsys, a, b)

    assert code == 2
    assert all("one repeat" in c["reason"] for c in report["comparisons"])


def test_figures_that_repeat_exactly_are_compared_all_the_same(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    def exact(factor: float) -> list[AggregatedResult]:
        return [row(i, {name: [level * factor] * 5 for name, level in LEVELS.items()}) for i in range(5)]

    code, report = compared(capsys, write("a", exact(1.0)), write("b", exact(1.1)))

    assert code == 1
    assert set(verdicts(report).values()) == {"worse", "better"}


def test_changed_flops_and_perplexity_are_facts_that_fail_nothing(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write("a", night(rng, perplexity=10.0))
    odd = {3: {"flops_value": 2e12}, 4: {"perplexity": 11.0}, 5: {"flops_confidence": "low", "flops_value": 3e12}}
    code, report = compared(capsys, a, write("b", night(rng, perplexity=10.0, odd=odd)))

    assert code == 0
    facts = {(int(f["cell"]["cell_id"], 16), f["figure"]): (f["ratio"], f["reason"]) for f in report["facts"]}
    assert facts == {
        (3, "flops_value"): (2.0, None),
        (4, "perplexity"): (1.1, None),
        (5, "flops_value"): (None, "flops-confidence: high -> low"),
    }


def test_cells_that_scatter_more_than_their_repeats_explain_raise_a_doubt(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    shaken = {i: {"ttft_s": float(np.exp(0.05 * rng.normal()))} for i in range(60)}
    a, b = write("a", night(rng, range(60))), write("b", night(rng, range(60), slow=shaken))
    _, report = compared(capsys, a, b)

    (note,) = report["notes"]
    assert note.startswith("ttft_s: cells scatter")


def test_earlier_nights_that_scatter_widen_the_intervals(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for day in range(8):
        shaken = {i: {"ttft_s": float(np.exp(0.05 * rng.normal()))} for i in range(20)}
        write(f"nights/{day}", night(rng, range(20), day=day + 1, slow=shaken))
    a, b = write("a", night(rng, range(20))), write("b", night(rng, range(20), slow={3: {"ttft_s": 1.12}}))

    assert main([a, b]) == 1
    capsys.readouterr()
    code, report = compared(capsys, a, b, "--nights", str(tmp_path / "nights"))
    assert code == 0
    assert report["between_night_noise"]["ttft_s"] == pytest.approx(0.05, rel=0.2)


def test_markdown_keeps_foreign_text_inside_its_cell(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {3: {"status": "failed", "error_type": "ValueError", "error_message": "a | b\n<img>"}}

    assert main([write("a", night(rng)), write("b", night(rng, odd=broken)), "--format", "markdown"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("## FAILED: 1 cell stopped working")
    assert "| failed: ValueError: a \\| b &lt;img> |" in out


def test_text_in_brackets_is_no_markup(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {3: {"status": "failed", "error_message": "[bold]index[/bold] [/]"}}
    main([write("a", night(rng)), write("b", night(rng, odd=broken))])

    assert "[bold]index[/bold] [/]" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["text", "markdown"])
def test_nothing_that_a_model_or_an_error_says_steers_the_terminal(
    shape: str, write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e"
    broken = {3: {"status": "failed", "error_message": f"no {hostile}", "driver_version": f"d{hostile}"}}
    folder = f"b{hostile}"
    main([write("a", night(rng)), write(folder, night(rng, odd=broken)), "--format", shape])
    out = capsys.readouterr().out
    assert r"no \x1b]0;owned".replace("\\", "\\\\" if shape == "markdown" else "\\") in out
    assert not set(hostile) & set(out) - set("owned]0;2J")


def test_nights_without_a_common_cell_are_bad_input(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write("a", night(rng, range(3))), write("b", night(rng, range(3, 6)))]) == 2
    assert "no cell in common" in capsys.readouterr().err


def test_two_rows_for_one_cell_are_bad_input(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write("a", night(rng) + night(rng)), write("b", night(rng))]) == 2
    assert f"cell {0:016x} has several rows" in capsys.readouterr().err


def test_missing_results_are_bad_input(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([str(tmp_path / "nowhere"), write("b", night(rng))]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such folder\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "two results to compare"),
        (["--history", "d", "a"], "no BASELINE"),
        (["a", "b", "--threshold", "5"], "'5' is no share between 0 and 1, perhaps 0.05"),
        (["a", "b", "--across", "drivr"], "did you mean 'driver'?"),
        (["a", "b", "--burst", "-1"], "'-1' is no number of seconds"),
    ],
)
def test_wrong_arguments_are_refused_with_the_right_ones(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)

    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_results_in_a_file_are_compared_like_those_in_a_folder(
    write: Write, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (Path(write(name, night(rng))) / "results.parquet" for name in "ab")

    assert main([str(a), str(b)]) == 0
