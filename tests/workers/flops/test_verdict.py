import pytest

from workers.flops.verdict import verdict
from workers.records import FlopsEstimates


def judged(**figures):
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
def test_an_estimate_is_believed_only_as_far_as_the_dispatcher_bears_it_out(figures, method, confidence, value):
    made = judged(**figures)
    assert (made.method, made.confidence, made.value) == (method, confidence, value)
    assert made.notes


def test_a_doubt_about_the_count_outweighs_any_agreement():
    estimates = FlopsEstimates(calflops=1.0, architecture=1.0, dispatcher=1.0, parameter_estimate=2.0)
    made = verdict(estimates, precision="bf16", doubt="it is Monday")
    assert made.confidence == "low"
    assert "Monday" in made.notes
