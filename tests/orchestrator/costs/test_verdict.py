import pytest

from orchestrator.costs.verdict import verdict
from workers.records import FlopsEstimates


def verdict_of(**figures):
    return verdict(FlopsEstimates(parameter_estimate=50.0, **figures), precision="bf16")


@pytest.mark.parametrize(
    ("figures", "method", "confidence", "value"),
    [
        ({"calflops": 100.9, "architecture": 100.0, "dispatcher": 100.0}, "calflops", "high", 100.9),
        ({"calflops": 101.1, "architecture": 99.1, "dispatcher": 100.0}, "architecture", "medium", 99.1),
        ({"calflops": 101.1, "architecture": 98.9, "dispatcher": 100.0}, "parameter_estimate", "low", 50.0),
        ({"calflops": 100.0, "architecture": 100.0}, "parameter_estimate", "low", 50.0),
        ({"architecture": 100.0, "dispatcher": 100.0}, "architecture", "medium", 100.0),
    ],
)
def test_confidence_follows_the_agreement_with_the_dispatcher(figures, method, confidence, value):
    result = verdict_of(**figures)
    assert (result.method, result.confidence, result.value) == (method, confidence, value)
    assert result.notes


def test_a_doubt_about_the_count_makes_the_result_low():
    estimates = FlopsEstimates(calflops=1.0, architecture=1.0, dispatcher=1.0, parameter_estimate=2.0)
    result = verdict(estimates, precision="bf16", doubt="it is Monday")
    assert result.confidence == "low"
    assert "Monday" in result.notes


@pytest.mark.parametrize("off", [0.0099, -0.0099])
def test_a_count_is_believed_up_to_one_per_cent(off):
    assert verdict_of(calflops=128 * (1 + off), dispatcher=128.0).confidence == "high"
    assert verdict_of(architecture=128 * (1 + off), dispatcher=128.0).confidence == "medium"
    assert verdict_of(calflops=128 * (1 + 1.03 * off), dispatcher=128.0).confidence == "low"


def test_a_count_of_zero_bears_nothing_out():
    assert verdict_of(calflops=0.0, architecture=0.0, dispatcher=0.0).confidence == "low"


def test_notes_say_what_was_compared_and_end_with_the_remarks():
    estimates = FlopsEstimates(calflops=101.0, dispatcher=100.0, parameter_estimate=50.0)
    agreed = verdict(estimates, precision="bf16", remarks=("experts are uneven",))
    assert "calflops" in agreed.notes
    assert "+1.00%" in agreed.notes
    assert agreed.notes.endswith("; experts are uneven")
    apart = verdict_of(calflops=150.0, dispatcher=100.0)
    assert "calflops differs by +50.00%" in apart.notes
    assert "closed form failed" in apart.notes
    alone = verdict(FlopsEstimates(parameter_estimate=50.0, failures={"dispatcher": "no memory"}), precision="bf16")
    assert "no memory" in alone.notes
