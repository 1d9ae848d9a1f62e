"""Interpolated sums over decode passes against a count of every pass."""

import pytest

from orchestrator.costs.counting.passes import AT_ONCE, IN_DOUBT, PROBES, Pass, Passes
from workers.records import Shape

LONG = Shape(batch_size=3, input_tokens=10, output_tokens=2000)
CHEAP, COSTLY, TOO_COSTLY = (effort // LONG.output_tokens for effort in (AT_ONCE, IN_DOUBT, 10 * IN_DOUBT))
"""Modules per pass, so that every pass of LONG is counted always, only in doubt, or never."""


def passes(decode, *, modules, shapes=(LONG,), breakpoints=()):
    """`decode(cached, made)` is the cost of a pass over `cached` tokens after `made` others."""
    counted = []

    def count(batch, tokens, decodes):
        counted.extend((batch, tokens + made) for made in range(decodes))
        costs = [tokens * tokens, *(decode(tokens + made, made) for made in range(decodes))]
        return [Pass(flops=batch * cost, cache=batch * tokens + made) for made, cost in enumerate(costs)]

    return Passes(count, shapes, lambda until: (n for n in breakpoints if n <= until), modules=modules), counted


def every(decode, shape=LONG):
    first = shape.input_tokens
    return shape.batch_size * (first**2 + sum(decode(first + made, made) for made in range(shape.output_tokens - 1)))


STRAIGHT = [
    lambda n, _: 700 + 3 * n,
    lambda n, _: 500 + min(n, 40),
    lambda n, _: n + min(n, 33) + min(n, 900),
]


def jumps(n, _):
    return n * 7919 % 1000


def spike(n, _):
    return 1000 + n + (500_000 if n == 777 else 0)


def remembers(_, made):
    return 1000 + 10 * made


@pytest.mark.parametrize("decode", [*STRAIGHT, jumps, spike, remembers])
@pytest.mark.parametrize("shape", [LONG, LONG.model_copy(update={"output_tokens": 1})])
def test_every_pass_is_counted_in_order_if_passes_are_cheap(decode, shape):
    made, counted = passes(decode, modules=CHEAP, shapes=[shape])
    assert made.flops(shape) == every(decode, shape)
    assert made.doubt is None
    assert max(n for _, n in [(0, 0), *counted]) < shape.input_tokens + shape.output_tokens


@pytest.mark.parametrize("decode", STRAIGHT)
@pytest.mark.parametrize("modules", [COSTLY, TOO_COSTLY])
def test_piecewise_linear_costs_take_few_passes_without_breakpoints(decode, modules):
    made, counted = passes(decode, modules=modules)
    assert made.flops(LONG) == pytest.approx(every(decode), rel=1e-3)
    assert made.doubt is None
    assert len(set(counted)) < 60


def test_no_pass_is_counted_twice_and_one_batch_size_suffices_for_proportional_costs():
    shapes = [LONG.model_copy(update={"batch_size": batch}) for batch in (1, 4, 16)]
    made, counted = passes(STRAIGHT[0], modules=TOO_COSTLY, shapes=shapes, breakpoints=[777])
    assert made.flops(shapes[2]) == pytest.approx(every(STRAIGHT[0], shapes[2]), rel=1e-12)
    assert {batch for batch, n in counted if n > LONG.input_tokens} == {1}
    assert len(counted) < 25


def test_linear_costs_take_a_handful_of_passes_at_any_length():
    shape = Shape(batch_size=1, input_tokens=10, output_tokens=100_000)
    made, counted = passes(STRAIGHT[0], modules=1, shapes=[shape])
    assert made.flops(shape) == pytest.approx(every(STRAIGHT[0], shape), rel=1e-12)
    assert len(set(counted)) < 10


@pytest.mark.parametrize("breakpoint_", [775, 776, 777, 778, 779])
def test_a_single_costly_pass_near_a_breakpoint_is_found(breakpoint_):
    made, counted = passes(spike, modules=TOO_COSTLY, breakpoints=[breakpoint_])
    assert made.flops(LONG) == pytest.approx(every(spike), rel=1e-12)
    assert made.doubt is None
    assert len(set(counted)) < 60


@pytest.mark.parametrize("decode", [jumps, remembers, lambda n, made: 1000 + n + 100 * (n > 900) * (made > 1)])
def test_if_interpolation_fails_every_pass_is_counted_or_the_sum_is_doubted(decode):
    within, _ = passes(decode, modules=COSTLY, breakpoints=[900])
    assert (within.flops(LONG), within.doubt) == (every(decode), None)
    beyond, counted = passes(decode, modules=TOO_COSTLY, breakpoints=[900])
    assert beyond.doubt
    assert len(set(counted)) < 10 * PROBES


def test_dependence_on_earlier_passes_is_detected_in_the_first_few():
    made, _ = passes(remembers, modules=TOO_COSTLY)
    assert "depends on earlier passes" in made.doubt


def test_an_irregular_cache_does_not_make_flops_doubtful():
    def count(batch, tokens, decodes):
        return [Pass(flops=batch, cache=(tokens + made) * 7919 % 1000) for made in range(decodes + 1)]

    made = Passes(count, [LONG], modules=TOO_COSTLY)
    made.mean_cache(LONG)
    assert made.doubt is None


def test_costs_that_do_not_depend_on_the_batch_size_are_not_multiplied_by_it():
    shapes = [Shape(batch_size=b, input_tokens=8, output_tokens=5) for b in (1, 4, 16)]

    def count(batch, tokens, decodes):
        return [Pass(flops=100 + batch * tokens), *(Pass(flops=10 + batch * (tokens + n)) for n in range(decodes))]

    made = Passes(count, shapes)
    for shape in shapes:
        b = shape.batch_size
        assert made.flops(shape) == 100 + b * 8 + sum(10 + b * n for n in range(8, 12))
